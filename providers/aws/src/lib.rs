//! The provider of EC2 and Route 53: instances and what they need (groups, keys, addresses, volumes), zones and records.
//!
//! Types and attributes have the names of Terraform's AWS provider, so that tools that people own read gabion's plans.
//! The provider reads no environment: whoever wires it gives a [`Loader`] of the SDK's configuration, which is asked for
//! when something of AWS is first to be read or made. A project without AWS never gets that far.
//!
//! # What identifies an object
//!
//! After a crash, or a lost answer, [`observe`](gabion_engine::provider::Provider::observe) must find what a call made,
//! by the operation that it carried. What each type has for that, and what it cannot see:
//!
//! | Type | What the creating call carries | How it is found again | What that cannot see |
//! | --- | --- | --- | --- |
//! | `aws_instance` | `ClientToken` and the tag `gabion:op`, both the operation | by the tag | an instance whose tag somebody removed within seconds; one that was terminated meanwhile counts as absent |
//! | `aws_ebs_volume` | `ClientToken` and `gabion:op` | by the tag, root volumes left out | the same |
//! | `aws_security_group` | `gabion:op`; EC2 has no token for it | by the tag | the same; whether the default egress rule was taken away, which is done again |
//! | `aws_vpc_security_group_*_rule` | `gabion:op` on the rule | by the tag | the same |
//! | `aws_eip` | `gabion:op` | by the tag | the same; what it leads to is read from the address itself |
//! | `aws_key_pair` | its name, unique in the region, and `gabion:op` | by the tag: a pair of that name that somebody else made is none of ours | a tag that was removed |
//! | `aws_placement_group` | its name, unique in the region, and `gabion:op` | by the tag | a tag that was removed |
//! | `aws_volume_attachment` | device, volume and instance, which are its id | by its id | who attached it: the same three are the same attachment |
//! | `aws_route53_zone` | `CallerReference`, which Route 53 keeps for ever | by the reference | nothing |
//! | `aws_route53_record` | zone, name and type, which are its id; made with `CREATE`, which fails over another's | by its id and its values: with other values it is another's | who made a record with just the values that were wanted |
//!
//! Tags and tokens come with the call itself, never in a second one (a zone's tags excepted: it is known by its
//! reference). An operation is made for each intent, so that another offer, tried after the first one failed, is an
//! intent with a token of its own.
//!
//! # What is not believed at once
//!
//! EC2's descriptions lag behind its changes. Within a type's *consistency window* (30 s of an instance, 20 s of what else
//! EC2 has, 10 s of Route 53's own listings) "not found" is asked again; a creation counts as absent only after looks
//! over the whole window. An instance that is shutting down or terminated is absent, although EC2 shows it for an hour.
//!
//! # How few calls it takes
//!
//! Reading asks by filters, for 200 objects a call (the most values that a filter takes), so that one unknown id never
//! fails the rest; records are read by listing their zone. Calls that wait share one look at all that is waited for. The
//! SDK's retries are off: the engine retries, and [calls of an operation that AWS throttles](Loader) are spaced out.

mod attributes;
mod clients;
mod data;
mod ec2;
mod error;
pub mod facts;
mod kind;
mod pace;
mod provider;
mod regions;
mod route53;
mod survey;
mod tags;
mod wait;

pub use clients::{Loader, Place};
pub use provider::{Arrivals, AwsProvider, NamedRegion, provider};
