"""Checks what an account sees of template.yaml, without one: that a new account can make
the defaults and what each parameter adds, that a failed first deployment leaves nothing
behind, and that an upgrade replaces nothing that has state. What AWS limits is from its
pages on quotas, what a change replaces from the resource schemas that cfn-lint has."""

import json
import sys
import tomllib

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from deployment import Deployment, check, of_type, summary, transformed

# What has state: logical ID -> type, condition, and each property that can't be changed
# without a replacement, with its value. A resource that is not here can be replaced.
#
# A change here is written into CHANGELOG.md, with what its operators have to do.
STATE = {
    # its address is at WeChat Pay and in pages
    "Api": ("AWS::ApiGatewayV2::Api", None, {"ProtocolType": "HTTP"}),
    "ApiStage": ("AWS::ApiGatewayV2::Stage", None, {"ApiId": {"Ref": "Api"}, "StageName": "$default"}),
    # consumers have rules on it
    "EventBus": ("AWS::Events::EventBus", "HasMerchant", {"Name": {"Ref": "AWS::StackName"}}),
    "EventArchive": ("AWS::Events::Archive", "HasMerchant", {"SourceArn": {"Fn::GetAtt": ["EventBus", "Arn"]}}),
    "UndeliveredEvents": ("AWS::SQS::Queue", "HasMerchant", {}),
    "ConfirmQueue": ("AWS::SQS::Queue", "ConfirmsCards", {}),
    "ConfirmDeadLetters": ("AWS::SQS::Queue", "ConfirmsCards", {}),
    "FailedInvocations": ("AWS::SQS::Queue", None, {}),
    "CardPlanBucket": ("AWS::S3::Bucket", None, {}),
    "CardTicket": ("AWS::SecretsManager::Secret", "HasOfficialAccount", {}),
    "FunctionLogs": ("AWS::Logs::LogGroup", None, {}),
    "ApiLogs": ("AWS::Logs::LogGroup", None, {}),
}
KINDS = {kind for kind, _, _ in STATE.values()} - {"AWS::ApiGatewayV2::Stage"}

# A new account's limits, all of them lower than or as those of others.
CONCURRENCY = 10  # invocations at once, of which Lambda lets none be reserved
API_RATE = 2500  # requests a second of all APIs, in the regions that have the least
# What a template may have.
MOST = {"Resources": 500, "Parameters": 200, "Outputs": 200, "Mappings": 200}
MAX_TEMPLATE = 1_000_000  # bytes, in S3
MAX_EXPRESSION = 10  # metrics of an alarm

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:%s-AbCdEf"
# A value of each parameter whose default is not all that it may be.
VALUES = {
    "OfficialAccountSecretArn": [SECRET % "account"],
    "NotificationPathSuffix": ["/0123456789abcdef"],
    "EventsKmsKeyArn": ["arn:aws:kms:us-east-1:123456789012:key/x"],
    "SecretsKmsKeyArn": ["arn:aws:kms:us-east-1:123456789012:key/x"],
    "VpcSubnetIds": [["subnet-1", "subnet-2"]],
    "AllowedOrigins": [["https://shop.example.com"]],
    "JumpOrigins": [["https://shop.example.com"], ["none"]],
    "AlarmTopicArn": ["arn:aws:sns:us-east-1:123456789012:alarms"],
}


def deployments(template):
    """The defaults with each secret and with both, and each parameter with each of its values."""
    merchant, account = {"MerchantSecretArn": SECRET % "merchant"}, {"OfficialAccountSecretArn": SECRET % "account"}
    for parameters in (merchant, account, merchant | account):
        yield parameters
    for name, parameter in template["Parameters"].items():
        for value in [*parameter.get("AllowedValues", []), *VALUES.get(name, [])]:
            if value != parameter["Default"]:
                yield merchant | account | {name: value}


def check_new_account(template):
    for parameters in deployments(template):
        deployment = Deployment(template, **parameters)
        shown = {name: value for name, value in parameters.items() if not name.endswith("SecretArn")} or "the defaults"
        for name, resource in template["Resources"].items():
            if deployment.exists(name):
                check_resource(f"with {shown}, {name}", resource["Type"], deployment.value(resource.get("Properties", {})))
        check_rollback(template, deployment, shown)


def check_resource(what, kind, properties):
    """What a new account can't make."""
    if kind == "AWS::Lambda::Function":
        check("ReservedConcurrentExecutions" not in properties, f"{what}: a new account can't reserve concurrency; its first deployment would fail")
    if kind == "AWS::Lambda::EventSourceMapping":
        most = properties.get("ScalingConfig", {}).get("MaximumConcurrency", CONCURRENCY)
        check(most < CONCURRENCY, f"{what}: {most} invocations at once are all that a new account has")
    if kind == "AWS::ApiGatewayV2::Stage":
        for key, settings in [("each route", properties["DefaultRouteSettings"]), *properties.get("RouteSettings", {}).items()]:
            check(int(settings["ThrottlingRateLimit"]) <= API_RATE, f"{what}: {key} has more than the account's {API_RATE} a second")
    if kind == "AWS::CloudWatch::Alarm":
        check(len(properties.get("Metrics", [])) <= MAX_EXPRESSION + 1, f"{what}: an expression has {MAX_EXPRESSION} metrics at most")
    if kind.startswith("AWS::IAM::"):
        for name in ("RoleName", "ManagedPolicyName"):
            check(name not in properties, f"{what}: {name} needs CAPABILITY_NAMED_IAM, which samconfig.toml does not give")


def check_rollback(template, deployment, shown):
    """What stays after a failed first deployment, and stops the next one if it has a name."""
    for name, resource in template["Resources"].items():
        if not deployment.exists(name):
            continue
        policy = resource.get("DeletionPolicy", "Delete")
        check(policy in ("Delete", "RetainExceptOnCreate"), f"with {shown}, {name} stays after a failed first deployment: DeletionPolicy {policy}")
        if policy != "Delete":
            names = set(unchangeable(resource["Type"])) & set(resource.get("Properties", {}))
            check(not names, f"with {shown}, {name} stays when the stack is deleted, and stops the next one of this name: {names}")
        if resource["Type"] == "AWS::Lambda::Function":
            group = resource["Properties"].get("LoggingConfig", {}).get("LogGroup", {}).get("Ref")
            check(group in template["Resources"], f"{name}: Lambda makes a log group for it, which stays")


def unchangeable(kind):
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    paths = schema.get("createOnlyProperties", []) + schema.get("conditionalCreateOnlyProperties", [])
    return [path.removeprefix("/properties/") for path in paths]


def check_state(template):
    cure = "if it is meant, change STATE and write it into CHANGELOG.md with what operators have to do"
    for name, (kind, condition, fixed) in STATE.items():
        resource = template["Resources"].get(name)
        if resource is None or resource["Type"] != kind:
            check(False, f"an upgrade deletes {name}, which has state; {cure}")
            continue
        properties = resource.get("Properties", {})
        got = {name: properties[name] for name in unchangeable(kind) if name in properties}
        check(got == fixed, f"an upgrade replaces {name}, which has state: {got}, not {fixed}; {cure}")
        check(resource.get("Condition") == condition, f"an upgrade may delete {name}, which has state: it exists with {resource.get('Condition')}, not {condition}; {cure}")
    for kind in KINDS:
        check(set(of_type(template, kind)) <= set(STATE), f"{set(of_type(template, kind)) - set(STATE)}: a {kind} has state; list it in STATE")


def check_size(template):
    for section, most in MOST.items():
        check(len(template.get(section, {})) <= most, f"{len(template.get(section, {}))} {section}, of {most}")
    size = len(json.dumps(template))
    check(size <= MAX_TEMPLATE, f"the template has {size} bytes, of {MAX_TEMPLATE}")


def check_samconfig():
    with open("samconfig.toml", "rb") as file:
        for name, environment in tomllib.load(file).items():
            if name != "version":
                deploy = environment["deploy"]["parameters"]
                check(deploy["capabilities"] == "CAPABILITY_IAM" and deploy["resolve_s3"], f"samconfig.toml, {name}: {deploy}")


for region in ("us-east-1", "cn-north-1"):
    found = transformed(region)
    check_new_account(found)
    check_state(found)
    check_size(found)
check_samconfig()
sys.exit(summary("account"))
