"""Compares deploy/deployer.yaml with template.yaml: the deployer may do what each of
its resources takes to make, change and delete, and nothing else. What a resource
takes is from AWS's documentation; no policy was tried in AWS."""

import json
import sys

from deployment import Deployment, as_list, check, parsed, summary, transformed


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

KEY = "arn:aws-cn:kms:cn-north-1:123456789012:key/00000000-0000-0000-0000-000000000000"
deployer = Deployment(parsed("deploy/deployer.yaml"), KmsKeyArns=[KEY], **{"AWS::Partition": "aws-cn"})
policy = deployer.value(deployer.template["Resources"]["DeployerPolicy"]["Properties"]["PolicyDocument"])
granted = set()
for statement in policy["Statement"]:
    listed = as_list(statement["Action"])
    check(len(listed) == len(set(listed)), f"{statement['Sid']}: an action twice")
    check(not any("*" in action for action in listed), f"{statement['Sid']}: a wildcard")
    check(statement["Resource"] != "*" or statement["Sid"] == "NoResource", f"{statement['Sid']}: on everything")
    granted |= set(listed)
kinds = {resource["Type"] for resource in transformed()["Resources"].values()}
check(kinds == set(NEEDS), f"resource types that are new or gone: {sorted(kinds ^ set(NEEDS))}")
for what, needed in {**NEEDS, **MORE}.items():
    check(needed <= granted, f"{what} needs {sorted(needed - granted)}")
surplus = granted - set().union(*NEEDS.values(), *MORE.values())
check(not surplus, f"nothing needs {sorted(surplus)}")
size = len("".join(json.dumps(policy, separators=(",", ":")).split()))
check(size <= MAX_POLICY, f"the policy has {size} characters; IAM takes {MAX_POLICY}")
sys.exit(summary(f"policy ({size} of {MAX_POLICY} characters)"))
