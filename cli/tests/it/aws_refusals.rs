//! What AWS refuses, as people read it: the resource and its place, the API, the code, the request and the way out; and
//! nothing half-made is called healthy.

use gabion_testing::aws::Fault;

use crate::aws_account::{Account, mentions};

fn machine(image: &str, instance_type: &str) -> String {
    format!(
        "type: resource\nkind: gabion_data\nname: before\nproperties:\n  input: 1\n---\ntype: resource\nkind: \
         aws_instance\nname: gw\nproperties:\n  ami: {image}\n  instance_type: {instance_type}\n"
    )
}

#[test]
fn each_refusal_names_resource_place_api_code_request_and_the_way_out() {
    let account = Account::open();
    let image = account.image();
    let project = account.project(&machine(&image, "t3.micro"));
    // Status and code of a refused `RunInstances`, and a word of the way out.
    let refused = [
        (403, "UnauthorizedOperation", "allow the operation in the policy"),
        (400, "RequestExpired", "log in again"),
        (401, "AuthFailure", "aws sts get-caller-identity"),
        (
            401,
            "OptInRequired",
            "aws account enable-region --region-name eu-west-1",
        ),
        (400, "VcpuLimitExceeded", "aws service-quotas list-service-quotas"),
        (
            500,
            "InsufficientInstanceCapacity",
            "another `availability_zone` or `instance_type`",
        ),
    ];
    for (status, code, way_out) in refused {
        account
            .aws
            .fault("RunInstances", Fault::Refused(status, code.to_owned()));
        let said = project.exits(6, &["apply", "-y"]);
        mentions(
            &said,
            &[
                "aws_instance.gw",
                "main.gabion.yml:7",
                "EC2 RunInstances in eu-west-1",
                code,
                "request ",
                way_out,
            ],
        );
        assert!(
            !project.exits(0, &["state", "list"]).out.contains("aws_instance"),
            "{code}"
        );
    }
    // An image and a type that there are not.
    for (image, instance_type, named) in [
        (
            "ami-00000000000000000",
            "t3.micro",
            [
                "EC2 DescribeImages",
                "InvalidAMIID.NotFound",
                "ami-00000000000000000",
                "one region only",
            ],
        ),
        (
            &*image,
            "t9.giant",
            [
                "EC2 RunInstances",
                "t9.giant",
                "aws_instance.gw",
                "describe-instance-type-offerings",
            ],
        ),
    ] {
        project.write("main.gabion.yml", machine(image, instance_type));
        let said = project.exits(6, &["apply", "-y"]);
        mentions(&said, &named);
        mentions(&said, &["aws_instance.gw", "main.gabion.yml:7", "request "]);
        assert!(!project.exits(0, &["state", "list"]).out.contains("aws_instance"));
    }
    // Made, and then nobody may look at it: it is not called ready, and the next apply finishes it.
    project.write("main.gabion.yml", machine(&image, "t3.micro"));
    for _ in 0..40 {
        let denied = Fault::Refused(403, "UnauthorizedOperation".to_owned());
        account.aws.fault("DescribeInstances", denied);
    }
    let said = project.exits(6, &["apply", "-y"]);
    mentions(
        &said,
        &[
            "aws_instance.gw",
            "EC2 DescribeInstances",
            "UnauthorizedOperation",
        ],
    );
    account.aws.clear_faults();
    let shown = project
        .exits(0, &["state", "show", "aws_instance.gw", "--format", "json"])
        .json();
    assert_eq!(shown["status"], "incomplete", "{shown}");
    project.apply();
    project.exits(0, &["plan", "--detailed-exitcode"]);
    let running = [
        ("Filter.1.Name", "instance-state-name"),
        ("Filter.1.Value.1", "running"),
    ];
    let text = account.ec2("DescribeInstances", &running);
    assert_eq!(text.matches("<instanceId>").count(), 1, "{text}");
}

/// A security group in a region, at line 6.
fn in_region(region: &str) -> String {
    format!(
        "type: resource\nkind: aws_security_group\nname: web\nproperties:\n  description: web\n  region: {region}\n"
    )
}

#[test]
fn a_mistyped_region_is_told_at_plan_with_its_place_and_the_nearest_one() {
    let account = Account::own();
    let project = account.project(&in_region("eu-west-9"));
    let told = [
        "main.gabion.yml:6",
        "There is no region `eu-west-9`",
        "EC2 DescribeAvailabilityZones in eu-west-9",
        "did you mean `eu-west-1`?",
        "eu-central-1, eu-central-2, eu-north-1",
    ];
    let said = project.exits(1, &["plan"]);
    mentions(&said, &told);
    mentions(&said, &["AuthFailure", "aws_security_group.web"]);
    // Nobody listens where the name leads: that is told in the same way.
    let elsewhere = account
        .project(&in_region("eu-west-9"))
        .set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let said = elsewhere.exits(1, &["plan"]);
    mentions(&said, &told);
    // One that this build does not know is none the less asked, and one that it knows is not.
    project.write("main.gabion.yml", in_region("us-west-2"));
    account.aws.take_calls();
    project.exits(0, &["plan"]);
    assert_eq!(account.aws.take_calls(), Vec::<String>::new());
}

#[test]
fn a_mistyped_region_of_the_environment_is_told_at_plan_with_the_variable() {
    let account = Account::own();
    let group = "type: resource\nkind: aws_security_group\nname: web\nproperties: {description: web}\n";
    let told = [
        "main.gabion.yml:2",
        "aws_security_group.web",
        "names the region `eu-west-9`, and there is none of that name to ask.",
        "EC2 DescribeAvailabilityZones in eu-west-9",
        "did you mean `eu-west-1`?",
    ];
    let project = account.project(group).set("AWS_REGION", "eu-west-9");
    let said = project.exits(1, &["plan"]);
    mentions(&said, &told);
    mentions(
        &said,
        &[
            "AWS_REGION names the region",
            "correct AWS_REGION, or set `region`",
        ],
    );
    // Nobody listens where the name leads, and another variable names it.
    let project = account
        .project(group)
        .set("AWS_REGION", "")
        .set("AWS_DEFAULT_REGION", "eu-west-9")
        .set("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let said = project.exits(1, &["plan"]);
    mentions(&said, &told);
    mentions(&said, &["correct AWS_DEFAULT_REGION"]);
    // Who names a region for the resource does not depend on it, and what is made stays where it is.
    let written = group.replace("{description: web}", "{description: web, region: eu-west-1}");
    let project = account.project(&written).set("AWS_REGION", "eu-west-9");
    project.exits(0, &["plan"]);
    let project = account.project(group);
    project.apply();
    let project = project.set("AWS_REGION", "eu-west-9");
    project.exits(0, &["plan", "--detailed-exitcode"]);
    project
        .set("AWS_REGION", "eu-west-1")
        .exits(0, &["destroy", "-y"]);
}

#[test]
fn a_gateway_in_a_mistyped_region_is_told_at_plan() {
    let account = Account::own();
    let project = account.seed("region: eu-west-1", "region: eu-west-9");
    let said = project.exits(1, &["plan"]);
    mentions(
        &said,
        &[
            "gateway.dstack.yml",
            "region: eu-west-9",
            "AuthFailure",
            "did you mean `eu-west-1`?",
        ],
    );
}
