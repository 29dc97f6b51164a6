//! What a failed call means: the class of the error, whether the world may have changed, and the way out.

use std::error::Error as StdError;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use gabion_engine::provider::{Effect, ErrorClass, ProviderError};

use crate::regions;

/// An operation of a service: `EC2 RunInstances`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Api {
    pub(crate) service: &'static str,
    pub(crate) operation: &'static str,
    /// Whether it changes the world.
    pub(crate) changes: bool,
}

impl Api {
    /// An operation of EC2 that only reads.
    pub(crate) const fn ec2(operation: &'static str) -> Self {
        Self {
            service: "EC2",
            operation,
            changes: false,
        }
    }

    /// An operation of Route 53 that only reads.
    pub(crate) const fn route53(operation: &'static str) -> Self {
        Self {
            service: "Route 53",
            operation,
            changes: false,
        }
    }

    /// The same, changing the world.
    pub(crate) const fn changing(mut self) -> Self {
        self.changes = true;
        self
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.service, self.operation)
    }
}

/// A failed call: the error for the engine, and AWS's own code for whoever handles one of them.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) code: Option<String>,
    pub(crate) error: ProviderError,
}

impl From<Failed> for ProviderError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

impl Failed {
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

/// Judges the failure of a call in a region.
pub(crate) fn judge<E>(api: Api, region: &str, error: &SdkError<E, HttpResponse>) -> Failed
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    if let SdkError::ServiceError(service) = error {
        let meta = service.err();
        let code = meta.code().unwrap_or("an error without a code");
        let status = service.raw().status().as_u16();
        let class = class_of(code, status, api.changes);
        let request = error
            .request_id()
            .map(|id| format!(" (request {id})"))
            .unwrap_or_default();
        let said = meta.message().map(|said| format!(": {said}")).unwrap_or_default();
        let message = sentence(format!("{api} in {region}: {code}{said}"), &request);
        let mut failure = ProviderError::new(class, message);
        // A type that there is not has no code of its own.
        let known = match meta.message() {
            Some(said) if code == "InvalidParameterValue" && said.contains("InstanceType") => {
                "InvalidInstanceType"
            }
            _ => code,
        };
        // An endpoint of another region, or of nobody, knows no credentials for it.
        let hint = match class == ErrorClass::Denied && !regions::is_known(region) {
            true => Some(regions::hint(region)),
            false => hint_for(known, region),
        };
        if let Some(hint) = hint {
            failure = failure.with_hint(hint);
        }
        return Failed {
            code: Some(code.to_owned()),
            error: failure,
        };
    }
    Failed {
        code: None,
        error: not_answered(api, region, error),
    }
}

/// A call that AWS did not answer, or not in a way that can be read.
fn not_answered<E>(api: Api, region: &str, error: &SdkError<E, HttpResponse>) -> ProviderError
where
    E: StdError + Send + Sync + 'static,
{
    let why = innermost(error);
    let unsent =
        |class: ErrorClass| ProviderError::new(class, sentence(format!("{api} in {region}: {why}"), ""));
    if let Some(credentials) = caused_by::<CredentialsError>(error) {
        let why = innermost(credentials);
        return ProviderError::new(
            ErrorClass::Denied,
            sentence(
                format!("{api} in {region} was not sent, because there are no credentials: {why}"),
                "",
            ),
        )
        .with_hint(CREDENTIALS_HINT);
    }
    if matches!(error, SdkError::DispatchFailure(_)) && why.contains("identity") {
        return ProviderError::new(
            ErrorClass::Denied,
            format!("{api} in {region} was not sent, because there are no credentials."),
        )
        .with_hint(CREDENTIALS_HINT);
    }
    let lost = || {
        let class = if api.changes {
            ErrorClass::Uncertain
        } else {
            ErrorClass::Transient
        };
        let message = if api.changes {
            format!("{api} in {region} was sent, and its answer was lost: {why}")
        } else {
            format!("{api} in {region} was not answered: {why}")
        };
        ProviderError::new(class, sentence(message, ""))
    };
    match error {
        SdkError::ConstructionFailure(_) => unsent(ErrorClass::Invalid),
        SdkError::DispatchFailure(_) if never_connected(error) => {
            let hint = match regions::is_known(region) {
                true => format!("see that this machine reaches AWS in the region `{region}`"),
                false => regions::hint(region),
            };
            unsent(ErrorClass::Transient).with_hint(hint)
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            // A refusal in another form than the API's is a refusal all the same; a server's own failure may come after
            // the effect.
            if (400..500).contains(&status) {
                ProviderError::new(
                    ErrorClass::Invalid,
                    format!(
                        "{api} in {region} was refused with HTTP status {status}, in a form that is not the API's."
                    ),
                )
            } else if api.changes {
                ProviderError::new(
                    ErrorClass::Uncertain,
                    format!(
                        "{api} in {region} was answered with HTTP status {status}, in a form that is not the API's."
                    ),
                )
            } else {
                lost()
            }
        }
        _ => lost(),
    }
}

const CREDENTIALS_HINT: &str = "log in (`aws sso login`, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and \
     AWS_SECRET_ACCESS_KEY), see that it worked, and run the command again:\n    aws sts get-caller-identity";

/// Returns what can be done about an error code.
fn class_of(code: &str, status: u16, changes: bool) -> ErrorClass {
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "EC2ThrottledException"
        | "BandwidthLimitExceeded"
        | "SlowDown"
        | "PriorRequestNotComplete" => ErrorClass::Throttled,
        // These say that nothing was done.
        "Unavailable" | "ServiceUnavailable" | "ServiceUnavailableException" => ErrorClass::Transient,
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "AuthFailure"
        | "Blocked"
        | "OptInRequired"
        | "PendingVerification"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationToken"
        | "IncompleteSignature" => ErrorClass::Denied,
        // There is none of it left, or the account may have no more of that family or market: another offer may do.
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientFreeAddressesInSubnet"
        | "InstanceLimitExceeded"
        | "VcpuLimitExceeded"
        | "MaxSpotInstanceCountExceeded"
        | "SpotMaxPriceTooLow"
        | "Unsupported" => ErrorClass::NoCapacity,
        "DependencyViolation"
        | "IdempotentParameterMismatch"
        | "IncorrectInstanceState"
        | "IncorrectState"
        | "IncorrectSpotRequestState"
        | "OperationNotPermitted"
        | "VolumeInUse"
        | "Resource.AlreadyAssociated"
        | "ResourceAlreadyAssociated"
        | "InvalidChangeBatch"
        | "HostedZoneAlreadyExists"
        | "HostedZoneNotEmpty"
        | "ConflictingDomainExists"
        | "ConcurrentModification" => ErrorClass::Conflict,
        "NoSuchHostedZone" | "NoSuchChange" => ErrorClass::NotFound,
        _ if code.ends_with(".NotFound") || code.ends_with(".Unavailable") || code.ends_with(".Unknown") => {
            ErrorClass::NotFound
        }
        _ if code.ends_with(".Duplicate") || code.ends_with(".InUse") || code.ends_with(".Exists") => {
            ErrorClass::Conflict
        }
        _ if status >= 500 && changes => ErrorClass::Uncertain,
        _ if status >= 500 => ErrorClass::Transient,
        _ if status == 429 => ErrorClass::Throttled,
        _ => ErrorClass::Invalid,
    }
}

/// Returns the way out of an error.
fn hint_for(code: &str, region: &str) -> Option<String> {
    let hint = match code {
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" | "Blocked" => {
            "allow the operation in the policy of the identity that runs gabion (`aws sts get-caller-identity` names it)"
                .to_owned()
        }
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            "the credentials have expired (or this machine's clock is wrong): log in again (`aws sso login`), then run the \
             command again; what was done is recorded"
                .to_owned()
        }
        "AuthFailure" | "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch" | "MissingAuthenticationToken" | "IncompleteSignature" => {
            format!("AWS does not know these credentials, or they are not for {region}. {CREDENTIALS_HINT}")
        }
        "OptInRequired" | "PendingVerification" => {
            format!("enable {region} for the account, or choose another `region`:\n    aws account enable-region --region-name {region}")
        }
        "InvalidAMIID.NotFound" | "InvalidAMIID.Unavailable" | "InvalidAMIID.Malformed" => format!(
            "an image's id is good in one region only. Give one of {region}, or `ami_owner` and `ami_name` in place of \
             `ami`, which find the newest image in every region"
        ),
        "InvalidInstanceType" | "InvalidInstanceType.NotFound" | "Unsupported" | "InvalidInstanceTypeException" => format!(
            "choose an `instance_type` that {region} offers in this zone:\n    aws ec2 describe-instance-type-offerings \
             --location-type availability-zone --region {region}"
        ),
        "VcpuLimitExceeded" | "InstanceLimitExceeded" | "MaxSpotInstanceCountExceeded" => format!(
            "ask for a higher quota (new accounts have none for GPUs), or choose a smaller `instance_type` or another \
             `region`:\n    aws service-quotas list-service-quotas --service-code ec2 --region {region}"
        ),
        "AddressLimitExceeded" | "SecurityGroupLimitExceeded" | "RulesPerSecurityGroupLimitExceeded"
        | "SecurityGroupsPerInstanceLimitExceeded" | "VolumeLimitExceeded" | "MaxIOPSLimitExceeded"
        | "KeyPairLimitExceeded" | "PlacementGroupLimitExceeded" | "TooManyHostedZones" => format!(
            "release what is not needed any more, or ask for a higher quota:\n    aws service-quotas \
             list-service-quotas --service-code ec2 --region {region}"
        ),
        "InsufficientInstanceCapacity" | "InsufficientCapacity" | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity" => {
            "set another `availability_zone` or `instance_type`, or run the command again later".to_owned()
        }
        "SpotMaxPriceTooLow" => "raise the `max_price` of `instance_market_options`, or leave it out".to_owned(),
        "InvalidKeyPair.NotFound" => {
            format!("make the key pair in {region}, as an `aws_key_pair`, or name another in `key_name`")
        }
        "InvalidKeyPair.Duplicate" | "InvalidGroup.Duplicate" | "InvalidPlacementGroup.Duplicate" => {
            "choose another name, or bring the one that is there under management with `gabion import`".to_owned()
        }
        "InvalidPermission.Duplicate" => {
            "the group has this rule already: remove it there, or bring it under management with `gabion import`".to_owned()
        }
        "VPCIdNotSpecified" => "the region has no default VPC: set `vpc_id`, or `subnet_id`".to_owned(),
        "MissingInput" => format!("the region {region} has no default VPC: set `subnet_id`"),
        _ => return None,
    };
    Some(hint)
}

/// Ends a text as a sentence, with an addition before its end.
fn sentence(text: String, addition: &str) -> String {
    let text = text.trim_end().trim_end_matches('.');
    format!("{text}{addition}.")
}

/// Returns an error of a type among the causes of another.
fn caused_by<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    causes(error).find_map(|error| error.downcast_ref())
}

/// Returns an error and its causes, the first one last.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// Returns what the first cause of an error says.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// Returns whether no byte of a request can have reached anybody.
fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|error| {
        error
            .downcast_ref::<hyper_util::client::legacy::Error>()
            .is_some_and(hyper_util::client::legacy::Error::is_connect)
            || error.downcast_ref::<std::io::Error>().is_some_and(|error| {
                matches!(
                    error.kind(),
                    std::io::ErrorKind::ConnectionRefused
                        | std::io::ErrorKind::HostUnreachable
                        | std::io::ErrorKind::NetworkUnreachable
                )
            })
    })
}

/// An error of something that AWS says is not there.
pub(crate) fn not_found(what: &str, id: &str, region: &str) -> ProviderError {
    ProviderError::new(
        ErrorClass::NotFound,
        format!("There is no {what} `{id}` in {region}."),
    )
    .with_hint(format!(
        "see that the id is right and of this region; one of another region is written `{id}@REGION`"
    ))
}

/// An error of a call that ran out of time while it waited.
pub(crate) fn out_of_time(what: &str) -> ProviderError {
    ProviderError::new(
        ErrorClass::Transient,
        format!("{what} within the time that the call may take."),
    )
    .with_effect(Effect::Partial)
    .with_hint("give it more time with `timeouts`, and run the command again")
}

/// An error of a call that a person cancelled while it waited.
pub(crate) fn cancelled(what: &str) -> ProviderError {
    ProviderError::new(ErrorClass::Uncertain, format!("It was cancelled before {what}."))
        .with_effect(Effect::Partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_can_be_done() {
        let cases = [
            ("RequestLimitExceeded", 503, true, ErrorClass::Throttled),
            ("Unavailable", 503, true, ErrorClass::Transient),
            ("InternalError", 500, true, ErrorClass::Uncertain),
            ("InternalError", 500, false, ErrorClass::Transient),
            ("UnauthorizedOperation", 403, true, ErrorClass::Denied),
            ("RequestExpired", 400, false, ErrorClass::Denied),
            ("InsufficientInstanceCapacity", 500, true, ErrorClass::NoCapacity),
            ("MaxSpotInstanceCountExceeded", 400, true, ErrorClass::NoCapacity),
            ("InvalidInstanceID.NotFound", 400, false, ErrorClass::NotFound),
            ("InvalidGroup.Duplicate", 400, true, ErrorClass::Conflict),
            ("VcpuLimitExceeded", 400, true, ErrorClass::NoCapacity),
            ("AddressLimitExceeded", 400, true, ErrorClass::Invalid),
            ("InvalidParameterValue", 400, true, ErrorClass::Invalid),
        ];
        for (code, status, changes, class) in cases {
            assert_eq!(class_of(code, status, changes), class, "{code}");
        }
    }

    #[test]
    fn a_request_id_stands_before_the_end_of_the_sentence() {
        assert_eq!(
            sentence("EC2 X in y: Code: It is so.".into(), " (request 1)"),
            "EC2 X in y: Code: It is so (request 1)."
        );
    }
}
