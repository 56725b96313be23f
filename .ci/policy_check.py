"""Compares deploy/deployer.yaml with template.yaml: the deployer may do what each of
its resources takes to make, tag, change and delete, on the resource itself, and nothing
else. What an action and a resource take is from AWS's Service Authorization Reference,
which types have tags from the resource schemas that cfn-lint has; no policy was tried in
AWS."""

import json
import re
import sys
import tomllib

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from deployment import Deployment, as_list, check, parsed, summary, transformed


def actions(service, *names):
    return {f"{service}:{name}" for name in names}


API = actions("apigateway", "GET", "POST", "PUT", "PATCH", "DELETE")
FUNCTION, QUEUE = "arn:{partition}:lambda:{region}:{account}:function:{name}", "arn:{partition}:sqs:{region}:{account}:{name}"
BUS = "arn:{partition}:events:{region}:{account}:event-bus/{stack}"
# Resource type -> its ARNs, and what it takes to make, change and delete it. name is the
# physical name that CloudFormation makes, logical the logical ID.
NEEDS = {
    "AWS::ApiGatewayV2::Api": (["arn:{partition}:apigateway:{region}::/apis", "arn:{partition}:apigateway:{region}::/apis/a1b2c3"], API),
    **{f"AWS::ApiGatewayV2::{kind}": (["arn:{partition}:apigateway:{region}::/apis/a1b2c3/%s" % path], API) for kind, path in (
        ("Authorizer", "authorizers/x"), ("Integration", "integrations/x"), ("Route", "routes/x"), ("Stage", "stages/$default"))},
    "AWS::CloudWatch::Alarm": (["arn:{partition}:cloudwatch:{region}:{account}:alarm:{name}"], actions("cloudwatch", "PutMetricAlarm", "DescribeAlarms", "DeleteAlarms", "ListTagsForResource")),
    "AWS::CloudWatch::Dashboard": (["arn:{partition}:cloudwatch::{account}:dashboard/{stack}"], actions("cloudwatch", "PutDashboard", "GetDashboard", "DeleteDashboards")),
    # An archive's name does not begin with the stack's.
    "AWS::Events::Archive": (["arn:{partition}:events:{region}:{account}:archive/{logical}-1A2B3C", BUS], actions("events", "CreateArchive", "DescribeArchive", "UpdateArchive", "DeleteArchive")),
    "AWS::Events::EventBusPolicy": ([BUS], actions("events", "PutPermission", "RemovePermission", "DescribeEventBus")),
    "AWS::Events::EventBus": ([BUS], actions("events", "CreateEventBus", "DescribeEventBus", "UpdateEventBus", "DeleteEventBus", "ListTagsForResource")),
    "AWS::Events::Rule": (["arn:{partition}:events:{region}:{account}:rule/{name}", "arn:{partition}:events:{region}:{account}:rule/{stack}/{name}"],
                          actions("events", "PutRule", "DescribeRule", "DeleteRule", "PutTargets", "RemoveTargets", "ListTargetsByRule", "ListTagsForResource")),
    "AWS::IAM::ManagedPolicy": (["arn:{partition}:iam::{account}:policy/{name}"],
                                actions("iam", "CreatePolicy", "GetPolicy", "GetPolicyVersion", "CreatePolicyVersion", "DeletePolicyVersion", "ListPolicyVersions", "DeletePolicy")),
    "AWS::IAM::Role": (["arn:{partition}:iam::{account}:role/{name}"], actions(
        "iam", "CreateRole", "GetRole", "DeleteRole", "UpdateRole", "UpdateAssumeRolePolicy", "PutRolePolicy", "GetRolePolicy", "DeleteRolePolicy", "AttachRolePolicy",
        "DetachRolePolicy", "ListRolePolicies", "ListAttachedRolePolicies", "PassRole")),
    "AWS::Lambda::EventInvokeConfig": ([FUNCTION], actions("lambda", *(verb + "FunctionEventInvokeConfig" for verb in ("Put", "Get", "Update", "Delete")))),
    "AWS::Lambda::EventSourceMapping": (["arn:{partition}:lambda:{region}:{account}:event-source-mapping:1a2b3c4d"],
                                        actions("lambda", "ListTags", *(verb + "EventSourceMapping" for verb in ("Create", "Get", "Update", "Delete")))),
    "AWS::Lambda::Function": ([FUNCTION], actions(
        "lambda", "CreateFunction", "GetFunction", "GetFunctionConfiguration", "UpdateFunctionCode", "UpdateFunctionConfiguration", "DeleteFunction", "ListTags",
        "GetFunctionCodeSigningConfig", "GetRuntimeManagementConfig")),
    "AWS::Lambda::Permission": ([FUNCTION], actions("lambda", "AddPermission", "RemovePermission", "GetPolicy")),
    "AWS::Logs::LogGroup": (["arn:{partition}:logs:{region}:{account}:log-group:{name}", "arn:{partition}:logs:{region}:{account}:log-group:{name}:*"],
                            actions("logs", "CreateLogGroup", "DescribeLogGroups", "DeleteLogGroup", "PutRetentionPolicy", "DeleteRetentionPolicy", "ListTagsForResource")),
    "AWS::Logs::QueryDefinition": (["*"], actions("logs", "PutQueryDefinition", "DescribeQueryDefinitions", "DeleteQueryDefinition")),
    "AWS::S3::Bucket": (["arn:{partition}:s3:::{lower}"], actions(
        "s3", "CreateBucket", "DeleteBucket", "PutBucketVersioning", "GetBucketVersioning", "PutLifecycleConfiguration", "PutEncryptionConfiguration", "PutBucketPublicAccessBlock",
        "PutBucketOwnershipControls", "PutBucketNotification", "GetBucketLocation", "ListTagsForResource")),
    "AWS::S3::BucketPolicy": (["arn:{partition}:s3:::{lower}"], actions("s3", "PutBucketPolicy", "GetBucketPolicy", "DeleteBucketPolicy")),
    "AWS::SQS::Queue": ([QUEUE], actions("sqs", "CreateQueue", "DeleteQueue", "GetQueueAttributes", "GetQueueUrl", "SetQueueAttributes", "ListQueueTags")),
    "AWS::SQS::QueuePolicy": ([QUEUE], actions("sqs", "SetQueueAttributes", "GetQueueAttributes")),
    # A secret's name does not begin with the stack's, where CloudFormation makes it.
    "AWS::SecretsManager::Secret": (["arn:{partition}:secretsmanager:{region}:{account}:secret:{logical}-1A2B3C-d4e5f6"],
                                    actions("secretsmanager", "CreateSecret", "DescribeSecret", "UpdateSecret", "DeleteSecret")),
}
# What it takes to put a stack's tags on a resource that can have some, by service.
TAGS = {
    "apigateway": API, "iam": actions("iam", "TagRole", "UntagRole"), "sqs": actions("sqs", "TagQueue", "UntagQueue"),
    "s3": actions("s3", "PutBucketTagging", "TagResource", "UntagResource"),  # older and newer
    **{service: actions(service, "TagResource", "UntagResource") for service in ("cloudwatch", "events", "lambda", "logs", "secretsmanager")},
}
STACK, SAM, SAMS_BUCKET = "arn:{partition}:cloudformation:{region}:{account}:stack/{stack}/1a2b", "arn:{partition}:cloudformation:{region}:{account}:stack/aws-sam-cli-managed-default/1a2b", "arn:{partition}:s3:::aws-sam-cli-managed-default-x"
PLAN_BUCKET, SECRET = "arn:{partition}:s3:::{stack}-cardplanbucket-1a2b", "arn:{partition}:secretsmanager:{region}:{account}:secret:{prefix}/merchant-d4e5f6"
# What the deployer does beside the resources, and on what.
MORE = {
    "sam deploy, stacks": ([STACK, SAM], actions("cloudformation", "CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet", "DeleteChangeSet", "CreateStack", "DeleteStack", "DescribeStacks",
                                                 "DescribeStackEvents", "DescribeStackResource", "DescribeStackResources", "ListStackResources", "GetTemplate", "GetTemplateSummary",
                                                 "UpdateTerminationProtection", "ContinueUpdateRollback")),
    "the transform": (["arn:{partition}:cloudformation:{region}:aws:transform/Serverless-2016-10-31"], actions("cloudformation", "CreateChangeSet")),
    "validation": (["*"], actions("cloudformation", "ValidateTemplate")),
    "SAM's bucket": ([SAMS_BUCKET], actions("s3", "CreateBucket", "GetBucketPolicy", "PutBucketPolicy", "PutBucketVersioning", "PutEncryptionConfiguration", "PutBucketPublicAccessBlock",
                                            "PutBucketTagging")),
    "code, the plan": ([SAMS_BUCKET, SAMS_BUCKET + "/1a2b", PLAN_BUCKET, PLAN_BUCKET + "/plan.json"],
                       actions("s3", "ListBucket", "ListBucketVersions", "GetObject", "GetObjectVersion", "PutObject", "DeleteObject", "DeleteObjectVersion")),
    "the log of the API": (["*"], actions("logs", "CreateLogDelivery", "GetLogDelivery", "UpdateLogDelivery", "DeleteLogDelivery", "ListLogDeliveries", "PutResourcePolicy",
                                          "DescribeResourcePolicies", "DescribeLogGroups")),
    "an account's first API": (["arn:{partition}:iam::{account}:role/aws-service-role/ops.apigateway.amazonaws.com/AWSServiceRoleForAPIGateway"], actions("iam", "CreateServiceLinkedRole")),
    "the secrets": ([SECRET], actions("secretsmanager", "CreateSecret", "DescribeSecret", "PutSecretValue", "UpdateSecret", "DeleteSecret")),
    "a sync and a ticket by hand": ([FUNCTION.format_map({**{x: "{%s}" % x for x in ("partition", "region", "account")}, "name": "{stack}-CardSyncFunction-1A2B"})], actions("lambda", "InvokeFunction")),
    "the account's concurrency": (["*"], actions("lambda", "GetAccountSettings")),
    "functions in a VPC": (["*"], actions("ec2", "DescribeSubnets", "DescribeSecurityGroups", "DescribeVpcs")),
    "alarms that are on": (["*"], actions("cloudwatch", "DescribeAlarms")),
    "keys of a customer": (["arn:{partition}:kms:{region}:{account}:key/00000000-0000-0000-0000-000000000000"], actions("kms", "DescribeKey", "Decrypt", "GenerateDataKey")),
}
# Actions that take no resource, or one that is not the resource's own.
ANYWHERE = actions("cloudwatch", "DescribeAlarms") | actions("logs", "DescribeLogGroups")
# IAM's limit of a managed policy, without white space.
MAX_POLICY = 6144


def physical(stack, logical, most):
    """The name that CloudFormation makes: one that is too long has 24 characters of each part."""
    name = f"{stack}-{logical}-1A2B3C4D5E6F"
    return name if len(name) <= most else f"{stack[:24]}-{logical[:24]}-1A2B3C4D5E6F"


def allows(statements, action, arn):
    def matches(pattern):
        return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), arn)

    return any(action in as_list(s["Action"]) and any(map(matches, as_list(s["Resource"]))) for s in statements)


def is_tagged(kind):
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    return schema.get("tagging", {}).get("taggable", "Tags" in schema["properties"])


def check_prefix(prefix, stack, partition, region, tags):
    values = {"partition": partition, "region": region, "account": "123456789012", "prefix": prefix, "stack": stack}
    key = f"arn:{partition}:kms:{region}:{values['account']}:key/00000000-0000-0000-0000-000000000000"
    deployer = Deployment(parsed("deploy/deployer.yaml"), Prefix=prefix, KmsKeyArns=[key], **{"AWS::Partition": partition, "AWS::AccountId": values["account"]})
    check(re.fullmatch(deployer.template["Parameters"]["Prefix"]["AllowedPattern"], prefix), f"deployer.yaml does not take the prefix {prefix}")
    policies = {name: deployer.value(r["Properties"]["PolicyDocument"])["Statement"] for name, r in deployer.template["Resources"].items()}
    sizes = {name: len("".join(json.dumps({"Version": "2012-10-17", "Statement": s}, separators=(",", ":")).split())) for name, s in policies.items()}
    for name, size in sizes.items():
        check(size <= MAX_POLICY, f"{name} has {size} characters; IAM takes {MAX_POLICY}")
    statements = [statement for policy in policies.values() for statement in policy]

    def needs(what, needed, arns, names):
        for action in sorted(needed):
            found = [arn.format_map(values | names) for arn in arns]
            check(any(allows(statements, action, arn) for arn in (["*"] if action in ANYWHERE else found)), f"{partition}, {stack}: {what} needs {action} on {' or '.join(found)}")

    for logical, resource in transformed(region)["Resources"].items():
        kind = resource["Type"]
        if kind not in NEEDS:
            check(False, f"{logical}: what does {kind} take?")
            continue
        arns, needed = NEEDS[kind]
        name = physical(stack, logical, {"AWS::SQS::Queue": 80, "AWS::Logs::LogGroup": 512, "AWS::CloudWatch::Alarm": 255, "AWS::IAM::ManagedPolicy": 128}.get(kind, 64))
        names = {"name": name, "logical": logical, "lower": physical(stack, logical, 63).lower()}
        needs(logical, needed, arns, names)
        if tags and is_tagged(kind):
            service = arns[0].split(":")[2]
            needs(f"{logical}, for its tags,", TAGS[service], ["arn:{partition}:apigateway:{region}::/tags/arn%3Aaws%3A"] if service == "apigateway" else arns, names)
    for what, (arns, needed) in MORE.items():
        for arn in arns:
            needs(what, needed if "/1a2b" not in arn and "plan.json" not in arn or what.startswith("sam") else {a for a in needed if "Object" in a}, [arn], {})
    return sizes, statements


with open("samconfig.toml", "rb") as file:
    stacks = {e["global"]["parameters"]["stack_name"]: e["deploy"]["parameters"].get("tags") for e in tomllib.load(file).values() if isinstance(e, dict)}
check(len(stacks) > 1 and all(stacks.values()), f"samconfig.toml has the stacks and tags {stacks}")
for partition, region in (("aws", "us-east-1"), ("aws-cn", "cn-north-1")):
    for stack, tags in stacks.items():
        sizes, statements = check_prefix("membercard", stack, partition, region, tags)
    check_prefix("the-longest-prefix-x", "the-longest-prefix-x-production", partition, region, tags)
granted = set()
for statement in statements:
    listed = as_list(statement["Action"])
    check(len(listed) == len(set(listed)), f"{statement['Sid']}: an action twice")
    check(not any("*" in action for action in listed), f"{statement['Sid']}: a wildcard")
    check(statement["Resource"] != "*" or statement["Sid"] == "NoResource", f"{statement['Sid']}: on everything")
    granted |= set(listed)
kinds = {resource["Type"] for resource in transformed()["Resources"].values()}
check(kinds == set(NEEDS), f"resource types that are new or gone: {sorted(kinds ^ set(NEEDS))}")
surplus = granted - set().union(*(needed for _, needed in [*NEEDS.values(), *MORE.values()]), *TAGS.values())
check(not surplus, f"nothing needs {sorted(surplus)}")
pattern = re.compile(parsed("deploy/deployer.yaml")["Parameters"]["Prefix"]["AllowedPattern"])
for prefix in ("Membercard", "the-longest-prefix-xx", "1shop", ""):
    check(not pattern.search(prefix), f"deployer.yaml takes the prefix {prefix!r}")
sys.exit(summary(f"policies ({', '.join(f'{size}' for size in sizes.values())} of {MAX_POLICY} characters)"))
