"""Compares deploy/deployer.yaml with template.yaml: the deployer may do what each of
its resources takes to make, change and delete, and nothing else. What a resource
takes is from AWS's documentation; no policy was tried in AWS."""

import json
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402


def actions(service, *names):
    return {f"{service}:{name}" for name in names}


API = actions("apigateway", "GET", "POST", "PUT", "PATCH", "DELETE")
TAGS = ("TagResource", "UntagResource")
NEEDS = {
    **dict.fromkeys([f"AWS::ApiGatewayV2::{kind}" for kind in ("Api", "Authorizer", "Integration", "Route")], API),
    # with an access log
    "AWS::ApiGatewayV2::Stage": API | actions("logs", "CreateLogDelivery", "GetLogDelivery", "UpdateLogDelivery", "DeleteLogDelivery", "ListLogDeliveries",
                                              "PutResourcePolicy", "DescribeResourcePolicies", "DescribeLogGroups"),
    "AWS::CloudWatch::Alarm": actions("cloudwatch", "PutMetricAlarm", "DescribeAlarms", "DeleteAlarms", *TAGS, "ListTagsForResource"),
    "AWS::CloudWatch::Dashboard": actions("cloudwatch", "PutDashboard", "GetDashboard", "DeleteDashboards"),
    "AWS::Events::Archive": actions("events", "CreateArchive", "DescribeArchive", "UpdateArchive", "DeleteArchive"),
    "AWS::Events::EventBusPolicy": actions("events", "PutPermission", "RemovePermission", "DescribeEventBus"),
    "AWS::Events::EventBus": actions("events", "CreateEventBus", "DescribeEventBus", "UpdateEventBus", "DeleteEventBus", *TAGS, "ListTagsForResource"),
    "AWS::Events::Rule": actions("events", "PutRule", "DescribeRule", "DeleteRule", "PutTargets", "RemoveTargets", "ListTargetsByRule", *TAGS, "ListTagsForResource"),
    "AWS::IAM::ManagedPolicy": actions("iam", "CreatePolicy", "GetPolicy", "GetPolicyVersion", "CreatePolicyVersion", "DeletePolicyVersion", "ListPolicyVersions", "DeletePolicy"),
    "AWS::IAM::Role": actions("iam", "CreateRole", "GetRole", "DeleteRole", "UpdateRole", "UpdateAssumeRolePolicy", "TagRole", "UntagRole", "PutRolePolicy", "GetRolePolicy",
                              "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy", "ListRolePolicies", "ListAttachedRolePolicies", "PassRole"),
    "AWS::Lambda::EventInvokeConfig": actions("lambda", *(verb + "FunctionEventInvokeConfig" for verb in ("Put", "Get", "Update", "Delete"))),
    "AWS::Lambda::EventSourceMapping": actions("lambda", *(verb + "EventSourceMapping" for verb in ("Create", "Get", "Update", "Delete"))),
    "AWS::Lambda::Function": actions("lambda", "CreateFunction", "GetFunction", "GetFunctionConfiguration", "UpdateFunctionCode", "UpdateFunctionConfiguration", "DeleteFunction",
                                     *TAGS, "ListTags", "GetFunctionCodeSigningConfig",
                                     "GetRuntimeManagementConfig") | actions("ec2", "DescribeSubnets", "DescribeSecurityGroups", "DescribeVpcs"),
    "AWS::Lambda::Permission": actions("lambda", "AddPermission", "RemovePermission", "GetPolicy"),
    "AWS::Logs::LogGroup": actions("logs", "CreateLogGroup", "DescribeLogGroups", "DeleteLogGroup", "PutRetentionPolicy", "DeleteRetentionPolicy", *TAGS, "ListTagsForResource"),
    "AWS::Logs::QueryDefinition": actions("logs", "PutQueryDefinition", "DescribeQueryDefinitions", "DeleteQueryDefinition"),
    "AWS::S3::Bucket": actions("s3", "CreateBucket", "DeleteBucket", "PutBucketVersioning", "GetBucketVersioning", "PutLifecycleConfiguration", "PutEncryptionConfiguration", "PutBucketPublicAccessBlock",
                               "PutBucketOwnershipControls", "PutBucketNotification", "PutBucketTagging", "GetBucketLocation"),
    "AWS::SQS::Queue": actions("sqs", "CreateQueue", "DeleteQueue", "GetQueueAttributes", "GetQueueUrl", "SetQueueAttributes", "TagQueue", "UntagQueue", "ListQueueTags"),
    "AWS::SQS::QueuePolicy": actions("sqs", "SetQueueAttributes", "GetQueueAttributes"),
    "AWS::SecretsManager::Secret": actions("secretsmanager", "CreateSecret", "DescribeSecret", "UpdateSecret", "DeleteSecret", *TAGS),
}
# What the deployer does beside the resources.
MORE = {
    "sam deploy, stacks": actions("cloudformation", "CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet", "DeleteChangeSet", "CreateStack", "DeleteStack", "DescribeStacks",
                                  "DescribeStackEvents", "DescribeStackResource", "DescribeStackResources", "ListStackResources", "GetTemplate", "GetTemplateSummary", "ValidateTemplate",
                                  "UpdateTerminationProtection", "ContinueUpdateRollback"),
    "SAM's bucket, the plan": actions("s3", "ListBucket", "ListBucketVersions", "GetBucketPolicy", "PutBucketPolicy", "GetObject", "GetObjectVersion", "PutObject", "DeleteObject",
                                      "DeleteObjectVersion"),
    "the secrets": actions("secretsmanager", "PutSecretValue"),
    "a sync and a ticket by hand": actions("lambda", "InvokeFunction"),
    "the account's concurrency": actions("lambda", "GetAccountSettings"),
    "keys of a customer": actions("kms", "DescribeKey", "Decrypt", "GenerateDataKey"),
}
# IAM's limit of a managed policy, without white space.
MAX_POLICY = 6144

checks = failures = 0


def check(holds, what):
    global checks, failures
    checks += 1
    if not holds:
        failures += 1
        print(f"FAIL {what}")


def resource_types():
    with open("template.yaml", encoding="utf-8") as file:
        source = yaml_parse(file)
    for resource in source["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"

    class NoManagedPolicies:
        def load(self):
            return {}

    return {resource["Type"] for resource in transform(source, {}, NoManagedPolicies())["Resources"].values()}


def rendered(node):
    """The policy with conditions true and with an account of twelve digits, to be measured."""
    if isinstance(node, list):
        return [rendered(item) for item in node]
    if isinstance(node, dict):
        if "Fn::If" in node:
            return rendered(node["Fn::If"][1])
        if "Fn::Sub" in node:
            values = {"AWS::Partition": "aws-cn", "AWS::AccountId": "123456789012", "Prefix": "membercard"}
            text = node["Fn::Sub"]
            for name, value in values.items():
                text = text.replace("${%s}" % name, value)
            return text
        if "Ref" in node:
            return ["arn:aws-cn:kms:cn-north-1:123456789012:key/00000000-0000-0000-0000-000000000000"]
        return {key: rendered(value) for key, value in node.items()}
    return node


with open("deploy/deployer.yaml", encoding="utf-8") as file:
    policy = rendered(yaml_parse(file)["Resources"]["DeployerPolicy"]["Properties"]["PolicyDocument"])
granted = set()
for statement in policy["Statement"]:
    listed = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    check(len(listed) == len(set(listed)), f"{statement['Sid']}: an action twice")
    check(not any("*" in action for action in listed), f"{statement['Sid']}: a wildcard")
    check(statement["Resource"] != "*" or statement["Sid"] == "NoResource", f"{statement['Sid']}: on everything")
    granted |= set(listed)
kinds = resource_types()
check(kinds == set(NEEDS), f"resource types that are new or gone: {sorted(kinds ^ set(NEEDS))}")
for what, needed in {**NEEDS, **MORE}.items():
    check(needed <= granted, f"{what} needs {sorted(needed - granted)}")
surplus = granted - set().union(*NEEDS.values(), *MORE.values())
check(not surplus, f"nothing needs {sorted(surplus)}")
size = len("".join(json.dumps(policy, separators=(",", ":")).split()))
check(size <= MAX_POLICY, f"the policy has {size} characters; IAM takes {MAX_POLICY}")
print(f"policy ({size} of {MAX_POLICY} characters): {checks - failures} passed, {failures} failed")
sys.exit(1 if failures or not checks else 0)
