"""Transforms template.yaml as AWS does and checks what comes of it: who may call
what, what each role may do, and that nothing is bound to one AWS partition."""

import json
import os
import re
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.translator.transform import transform  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

SECRET = {"Ref": "MerchantSecretArn"}
SYNC = '{"action": "sync"}'
# What a function in a VPC needs beyond its own policy, and nothing without one.
VPC_POLICIES = {
    "Fn::If": [
        "InVpc",
        [{"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaENIManagementAccess"}],
        {"Ref": "AWS::NoValue"},
    ]
}
TRACE = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
# What each function's role may do: action -> the only resource it may do it to.
ALLOWED = {
    "MerchantTokenFunction": {
        "secretsmanager:GetSecretValue": SECRET,
        "logs:CreateLogStream": {"Fn::GetAtt": ["MerchantTokenLogs", "Arn"]},
        "logs:PutLogEvents": {"Fn::GetAtt": ["MerchantTokenLogs", "Arn"]},
    },
    "BrandTokenFunction": {
        "secretsmanager:GetSecretValue": SECRET,
        "logs:CreateLogStream": {"Fn::GetAtt": ["BrandTokenLogs", "Arn"]},
        "logs:PutLogEvents": {"Fn::GetAtt": ["BrandTokenLogs", "Arn"]},
    },
    "CardUpdateFunction": {
        "secretsmanager:GetSecretValue": {"Ref": "OfficialAccountSecretArn"},
        "s3:GetObject": {"Fn::Sub": "${CardPlanBucket.Arn}/${CardPlanKey}"},
        "logs:CreateLogStream": {"Fn::GetAtt": ["CardUpdateLogs", "Arn"]},
        "logs:PutLogEvents": {"Fn::GetAtt": ["CardUpdateLogs", "Arn"]},
    },
}
ROUTES = {
    "POST /v3/marketing/membercard-open/cards/{card_id}/permission-tokens": "MerchantTokenFunction",
    "POST /v3/brand/partner/card-member/open-user-card-tokens": "BrandTokenFunction",
    "POST /v3/brand/partner/card-member/pre-auth-tokens": "BrandTokenFunction",
    "POST /card/update": "CardUpdateFunction",
}

checks = failures = 0


def check(holds, what):
    global checks, failures
    checks += 1
    if not holds:
        failures += 1
        print(f"FAIL {what}")


def as_list(value):
    return value if isinstance(value, list) else [value]


def transformed(region):
    os.environ["AWS_DEFAULT_REGION"] = region
    with open("template.yaml", encoding="utf-8") as file:
        source = yaml_parse(file)
    for resource in source["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"  # what `sam package` puts there

    class NoManagedPolicies:
        def load(self):
            return {}

    return transform(source, {}, NoManagedPolicies())


def of_type(template, kind):
    return {name: r for name, r in template["Resources"].items() if r["Type"] == kind}


def check_template(region):
    template = transformed(region)
    text = json.dumps(template)

    for literal in re.findall(r"arn:aws[a-z-]*:[a-z]", text.replace(json.dumps(template["Parameters"]), "")):
        check(False, f"{region}: an ARN names its partition: {literal}…")
    for host in re.findall(r"[\w.${}:-]+\.amazonaws\.com(?:\.cn)?", text):
        check(host in ("lambda.amazonaws.com", "apigateway.amazonaws.com", "events.amazonaws.com"), f"{region}: {host} names its partition")

    functions = of_type(template, "AWS::Lambda::Function")
    check(set(functions) == set(ALLOWED), f"{region}: functions are {sorted(functions)}")
    for name, function in functions.items():
        properties = function["Properties"]
        check(properties["Runtime"] == "provided.al2023", f"{name}: runtime")
        check(properties["Architectures"] == [{"Ref": "Architecture"}], f"{name}: architecture is the parameter's")
        check(properties["TracingConfig"] == {"Mode": "Active"}, f"{name}: tracing")
        check(properties["LoggingConfig"]["LogFormat"] == "JSON", f"{name}: log format")
        log = template["Resources"][properties["LoggingConfig"]["LogGroup"]["Ref"]]
        check(log["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}, f"{name}: log retention")
        check_role(template, name, properties["Role"]["Fn::GetAtt"][0])

    check_sync(template)
    for name, api in of_type(template, "AWS::ApiGatewayV2::Api").items():
        check_routes(name, api["Properties"]["Body"])
    for name, stage in of_type(template, "AWS::ApiGatewayV2::Stage").items():
        check("AccessLogSettings" in stage["Properties"], f"{name}: access log")
        check("ThrottlingRateLimit" in stage["Properties"]["DefaultRouteSettings"], f"{name}: throttling")


def check_sync(template):
    function = template["Resources"]["CardUpdateFunction"]["Properties"]
    check(function["ReservedConcurrentExecutions"] == 1, "one sync at a time")
    check(function["Timeout"] > 15, "a sync has more time than a request")
    bucket = template["Resources"]["CardPlanBucket"]["Properties"]
    check(bucket["VersioningConfiguration"] == {"Status": "Enabled"}, "the plan's bucket has versions")
    check(set(bucket["PublicAccessBlockConfiguration"].values()) == {True}, "the plan's bucket is private")
    check("BucketEncryption" in bucket, "the plan's bucket is encrypted")
    rules = [rule["Properties"] for rule in of_type(template, "AWS::Events::Rule").values()]
    check(len(rules) == 2, f"{len(rules)} rules")
    for rule in rules:
        check([target["Input"] for target in rule["Targets"]] == [SYNC], "a rule sends sync")
    timer = [rule for rule in rules if "ScheduleExpression" in rule]
    check([(rule["ScheduleExpression"], rule["State"]) for rule in timer] == [({"Ref": "SyncRate"}, {"Ref": "SyncSchedule"})], "the schedule is the parameters'")


def check_role(template, function, role):
    properties = template["Resources"][role]["Properties"]
    check(properties.get("ManagedPolicyArns") in (None, VPC_POLICIES), f"{role}: no managed policies but for a VPC")
    allowed = dict(ALLOWED[function])
    for policy in properties["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            check(statement["Effect"] == "Allow" and "NotAction" not in statement and "NotResource" not in statement, f"{role}: plain statements")
            for action in as_list(statement["Action"]):
                if action in TRACE:
                    continue  # X-Ray has no resources to name
                for resource in as_list(statement["Resource"]):
                    check(resource != "*", f"{role}: {action} on everything")
                    check(allowed.pop(action, None) == resource, f"{role}: {action} on {resource}")
    check(not allowed, f"{role}: lacks {sorted(allowed)}")


def check_routes(api, body):
    check(body["components"]["securitySchemes"]["AWS_IAM"]["x-amazon-apigateway-authtype"] == "awsSigv4", f"{api}: AWS_IAM is SigV4")
    routes = {}
    for path, methods in body["paths"].items():
        for method, operation in methods.items():
            route = f"{method.upper()} {path}"
            check(operation.get("security") == [{"AWS_IAM": []}], f"{route}: is AWS_IAM")
            routes[route] = re.search(r"\$\{(\w+)\.Arn\}", json.dumps(operation["x-amazon-apigateway-integration"]["uri"])).group(1)
    check(routes == ROUTES, f"{api}: routes are {routes}")


for partition in ("us-east-1", "cn-north-1"):
    check_template(partition)
print(f"template: {checks - failures} passed, {failures} failed")
sys.exit(1 if failures or not checks else 0)
