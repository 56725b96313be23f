"""Transforms template.yaml as AWS does and checks the result: who may call what for
each value of FrontendAuth, what each role may do, which functions exist without a
merchant or an official account, how long an operation's block is, and that nothing
is bound to one AWS partition."""

import json
import os
import re
import sys

from deployment import Deployment, as_list, check, of_type, summary, transformed


def reads(secret, *more):
    return {"secretsmanager:GetSecretValue": [secret, *more]}


# Where invocations go that nobody waits for, when they fail.
FAILED = {"Fn::GetAtt": ["FailedInvocations", "Arn"]}


def syncs(name):
    """What a sync may do with the plan's bucket: name.json is what it remembers, name.lease.json which one runs."""
    written = [{"Fn::Sub": "${CardPlanBucket.Arn}/" + name + end} for end in (".json", ".lease.json")]
    return {
        "s3:GetObject": [{"Fn::Sub": "${CardPlanBucket.Arn}/${CardPlanKey}"}, *written],
        "s3:PutObject": written,
        "s3:ListBucket": [{"Fn::GetAtt": ["CardPlanBucket", "Arn"]}],
    }


# What each role may do: action -> every resource. Writing to the functions' log is
# added to each.
ROLES = {
    "Merchant": reads({"Ref": "MerchantSecretArn"}),
    "OfficialAccount": reads({"Ref": "OfficialAccountSecretArn"}),
    "KeyCheck": {
        **reads({"Ref": "MerchantSecretArn"}),
        "sqs:SendMessage": [FAILED],
    },
    "CardSync": {
        **reads({"Ref": "OfficialAccountSecretArn"}),
        "sqs:SendMessage": [FAILED],
        **syncs("card-sync"),
    },
    "ServiceModuleSync": {
        **reads({"Ref": "MerchantSecretArn"}),
        "sqs:SendMessage": [FAILED],
        **syncs("service-modules"),
    },
    "CardExt": {
        **reads({"Ref": "OfficialAccountSecretArn"}, {"Ref": "CardTicket"}),
        "sqs:SendMessage": [FAILED],
        "secretsmanager:PutSecretValue": [{"Ref": "CardTicket"}],
    },
    "WechatAuthorizer": reads({"Ref": "LoginSecretArn"}),
    "CardEvents": {
        **reads({"Ref": "MerchantSecretArn"}),
        "events:PutEvents": [{"Fn::GetAtt": ["EventBus", "Arn"]}],
    },
    "BrandConfirm": reads({"Ref": "MerchantSecretArn"}),
}
# What a role may do only under a condition.
CONDITIONAL = {
    "BrandConfirm": {
        "ConfirmsCards": {
            **{action: [{"Fn::GetAtt": ["ConfirmQueue", "Arn"]}] for action in (
                "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility")},
            "sqs:SendMessage": [{"Fn::GetAtt": ["ConfirmDeadLetters", "Arn"]}],
        },
        "HasEventsKey": {action: [{"Ref": "EventsKmsKeyArn"}] for action in ("kms:Decrypt", "kms:GenerateDataKey")},
    },
    "CardExt": {"HasSecretsKey": {"kms:GenerateDataKey": [{"Ref": "SecretsKmsKeyArn"}]}},  # writes the card ticket
}
for conditions in (CONDITIONAL.setdefault(role, {}) for role in ROLES):  # every role reads a secret
    conditions.setdefault("HasSecretsKey", {})["kms:Decrypt"] = [{"Ref": "SecretsKmsKeyArn"}]
# Every function, its role, and the condition under which it exists.
FUNCTIONS = {
    "MerchantToken": ("Merchant", "HasMerchant"),
    "BrandToken": ("Merchant", "HasMerchant"),
    "CardEvents": ("CardEvents", "HasMerchant"),
    "BrandConfirm": ("BrandConfirm", "HasMerchant"),
    "MerchantConfirm": ("Merchant", "HasMerchant"),
    "MerchantActivate": ("Merchant", "HasMerchant"),
    "MerchantActivateInformation": ("Merchant", "HasMerchant"),
    "MerchantDecryptCode": ("Merchant", "HasMerchant"),
    "BrandCard": ("Merchant", "HasMerchant"),
    "BrandCards": ("Merchant", "HasMerchant"),
    "MerchantCard": ("Merchant", "HasMerchant"),
    "MerchantCards": ("Merchant", "HasMerchant"),
    "KeyCheck": ("KeyCheck", "HasMerchant"),
    "CardUpdate": ("OfficialAccount", "HasOfficialAccount"),
    "CardCreate": ("OfficialAccount", "HasOfficialAccount"),
    "CardCode": ("OfficialAccount", "HasOfficialAccount"),
    "CardSync": ("CardSync", "HasOfficialAccount"),
    "ServiceModuleSync": ("ServiceModuleSync", "HasMerchant"),
    "CardExt": ("CardExt", "HasOfficialAccount"),
    "WechatAuthorizer": ("WechatAuthorizer", "AuthIsWechat"),
}
# Every route, its function, and who may call it: frontends as FrontendAuth says,
# callers with AWS credentials, or everybody.
FRONTEND, CREDENTIALS, EVERYBODY = "frontend", "credentials", "everybody"
OPEN = "/v3/marketing/membercard-open"
BRAND = "/v3/brand/partner/card-member"
ROUTES = {
    f"POST {OPEN}/cards/{{card_id}}/permission-tokens": ("MerchantToken", FRONTEND),
    f"POST {BRAND}/open-user-card-tokens": ("BrandToken", FRONTEND),
    f"POST {BRAND}/pre-auth-tokens": ("BrandToken", FRONTEND),
    "POST /card/ext": ("CardExt", FRONTEND),
    "POST /card/code/decrypt": ("CardCode", FRONTEND),
    "POST /card/update": ("CardUpdate", CREDENTIALS),
    "POST /card/create": ("CardCreate", CREDENTIALS),
    f"POST {BRAND}/user-cards/{{user_card_code}}/confirm": ("BrandConfirm", CREDENTIALS),
    f"POST {OPEN}/cards/{{card_id}}/codes/{{code}}/confirm": ("MerchantConfirm", CREDENTIALS),
    f"POST {OPEN}/cards/{{card_id}}/codes/{{code}}/activate": ("MerchantActivate", CREDENTIALS),
    f"GET {OPEN}/activate-informations/{{activate_ticket+}}": ("MerchantActivateInformation", CREDENTIALS),
    f"GET {OPEN}/cards/{{card_id}}/decrypt-code": ("MerchantDecryptCode", CREDENTIALS),
    f"GET {BRAND}/user-cards/{{user_card_code}}": ("BrandCard", CREDENTIALS),
    f"GET {BRAND}/user-cards": ("BrandCards", CREDENTIALS),
    f"GET {OPEN}/cards/{{card_id}}/codes/{{code}}": ("MerchantCard", CREDENTIALS),
    f"GET {OPEN}/user/cards": ("MerchantCards", CREDENTIALS),
    "POST /wechatpay/notifications": ("CardEvents", EVERYBODY),  # WeChat Pay's signature decides
}
# What a frontend's route requires: its authorization and its authorizer.
AUTHORIZATION = {
    "IAM": ("AWS_IAM", None),
    "JWT": ("JWT", "JwtAuthorizer"),
    "WECHAT": ("CUSTOM", "WechatAuthorizer"),
}
# What a function in a VPC needs beyond its own policy, and nothing without one.
VPC_POLICY = {
    "Fn::If": [
        "InVpc",
        {"Fn::Sub": "arn:${AWS::Partition}:iam::aws:policy/service-role/AWSLambdaENIManagementAccess"},
        {"Ref": "AWS::NoValue"},
    ]
}
ACTIONS = {"CardSyncFunction": "sync", "ServiceModuleSyncFunction": "sync", "CardExtFunction": "refresh", "KeyCheckFunction": "check"}
# What the open route may take of the account's limit. API Gateway throttles before it authorizes.
OPEN_LIMIT = {"POST /wechatpay/notifications": {"ThrottlingRateLimit": 1000, "ThrottlingBurstLimit": 1000}}
AWS_METRICS = {
    ("AWS/ApiGateway", "5xx"),
    ("AWS/ApiGateway", "Latency"),
    ("AWS/Events", "Invocations"),
    ("AWS/Lambda", "Throttles"),
    ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
}
# The most lines that an operation's block may have in template.yaml.
MAX_BLOCK = 18
# Operations that have more: a second route, a queue, schedules, a page's authorizer.
LARGER = {"merchant-token": 21, "brand-token": 26, "card-events": 22, "brand-confirm": 28, "key-check": 19, "card-code": 20, "card-sync": 24, "service-module-sync": 23, "card-ext": 32}


def check_template(region):
    template = transformed(region)
    text = json.dumps(template)

    check("{{resolve:" not in text, f"{region}: a secret's value is in a property, where everybody who may describe the stack's resources sees it")
    for literal in re.findall(r"arn:aws[a-z-]*:[a-z]", text.replace(json.dumps(template["Parameters"]), "")):
        check(False, f"{region}: an ARN names its partition: {literal}…")
    for host in re.findall(r"[\w.${}:-]+\.amazonaws\.com(?:\.cn)?", text):
        principals = ("lambda.amazonaws.com", "apigateway.amazonaws.com", "events.amazonaws.com")
        check(host in principals, f"{region}: {host} names its partition")

    functions = of_type(template, "AWS::Lambda::Function")
    check(set(functions) == {f"{name}Function" for name in FUNCTIONS}, f"{region}: functions are {sorted(functions)}")
    for name, function in functions.items():
        check_function(name.removesuffix("Function"), function)
    roles = of_type(template, "AWS::IAM::Role")
    check_every_function(template)
    check_invoker(roles.pop("ApiRole"), template)
    check(set(roles) == {f"{name}Role" for name in ROLES}, f"{region}: roles are {sorted(roles)}")
    for name, role in roles.items():
        keys = {"EventsKmsKeyArn": "events"}, {"SecretsKmsKeyArn": "secrets"}, {"EventsKmsKeyArn": "events", "SecretsKmsKeyArn": "secrets"}
        for parameters in ({}, {"ConfirmCards": "OWN"}, *keys):
            check_role(name.removesuffix("Role"), role["Properties"], Deployment(template, MerchantSecretArn="m", **parameters))
    check_identities(template)
    check_plan(template)
    check_notifications(template)
    check_rules(template)
    check_api(template)
    check_alarms(template)
    check_queries(template)
    check_deploying(template)
    for auth, required in AUTHORIZATION.items():
        check_routes(Deployment(template, FrontendAuth=auth, MerchantSecretArn="m"), auth, *required)


def check_function(name, function):
    role, condition = FUNCTIONS[name]
    properties = function["Properties"]
    check(function.get("Condition") == condition, f"{name}: exists with {function.get('Condition')}")
    check(properties["Runtime"] == "provided.al2023", f"{name}: runtime")
    check(properties["Architectures"] == [{"Ref": "Architecture"}], f"{name}: architecture is the parameter's")
    check(properties["TracingConfig"] == {"Mode": {"Fn::If": ["InChina", "PassThrough", "Active"]}}, f"{name}: tracing")
    check(properties["LoggingConfig"] == {"LogFormat": "JSON", "LogGroup": {"Ref": "FunctionLogs"}}, f"{name}: log")
    check(properties["Role"] == {"Fn::GetAtt": [f"{role}Role", "Arn"]}, f"{name}: has the role {properties['Role']}")


def check_every_function(template):
    """What every function may do: write to the functions' log, and trace."""
    policies = of_type(template, "AWS::IAM::ManagedPolicy")
    check(set(policies) == {"FunctionPolicy"}, f"managed policies are {sorted(policies)}")
    got = policies["FunctionPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    check(got == [
        {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"], "Resource": {"Fn::GetAtt": ["FunctionLogs", "Arn"]}},
        {"Effect": "Allow", "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "Resource": "*"},  # X-Ray has no resources
    ], f"every function may do {got}")


def check_invoker(role, template):
    """API Gateway may invoke the functions that have a route or are an authorizer, where they exist, and no others."""
    properties = role["Properties"]
    principal = properties["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]
    check(principal == {"Service": "apigateway.amazonaws.com"}, f"ApiRole is for {principal}")
    routed = {function for function, _ in ROUTES.values()} | {"WechatAuthorizer"}
    for parameters in ({"MerchantSecretArn": "m"}, {"OfficialAccountSecretArn": "o"}, {"MerchantSecretArn": "m", "FrontendAuth": "WECHAT"}):
        deployment = Deployment(template, **parameters)
        got = []
        for statement in map(deployment.value, properties["Policies"][0]["PolicyDocument"]["Statement"]):
            if statement is not None:
                check(set(statement) == {"Effect", "Action", "Resource"} and statement["Action"] == "lambda:InvokeFunction", "ApiRole only invokes")
                got += [resource["Fn::GetAtt"] for resource in as_list(statement["Resource"])]
        want = [[f"{name}Function", "Arn"] for name in routed if deployment.exists(f"{name}Function")]
        check(sorted(got) == sorted(want), f"{parameters}: API Gateway invokes {got}")


def check_role(name, role, deployment):
    account = FUNCTIONS[next(function for function in FUNCTIONS if FUNCTIONS[function][0] == name)][1] == "HasOfficialAccount"
    check(role["ManagedPolicyArns"] == [{"Ref": "FunctionPolicy"}] + ([VPC_POLICY] if account else []), f"{name}: no managed policies but every function's, and for a VPC")
    allowed = ROLES[name]
    for condition, actions in CONDITIONAL.get(name, {}).items():
        if deployment.holds({"Condition": condition}):
            allowed = allowed | {action: allowed.get(action, []) + resources for action, resources in actions.items()}
    allowed = {action: sorted(map(str, map(deployment.value, resources))) for action, resources in allowed.items()}
    granted = {}
    for policy in role["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            statement = deployment.value(statement)
            if statement is None:
                continue
            check(set(statement) == {"Effect", "Action", "Resource"} and statement["Effect"] == "Allow", f"{name}: plain statements")
            for action in as_list(statement["Action"]):
                check("*" not in as_list(statement["Resource"]), f"{name}: {action} on everything")
                granted.setdefault(action, []).extend(map(deployment.value, as_list(statement["Resource"])))
    granted = {action: sorted(map(str, resources)) for action, resources in granted.items()}
    check(granted == allowed, f"{name}: may do {granted}")


def check_identities(template):
    """Without a merchant or an official account the stack has no resource of that kind, and none refers to one."""
    merchant = {name for name, (_, condition) in FUNCTIONS.items() if condition == "HasMerchant"}
    account = {name for name, (_, condition) in FUNCTIONS.items() if condition == "HasOfficialAccount"}
    for parameters, want in (
        ({"MerchantSecretArn": "m", "OfficialAccountSecretArn": "o"}, merchant | account),
        ({"MerchantSecretArn": "m"}, merchant),
        ({"OfficialAccountSecretArn": "o"}, account),
    ):
        deployment = Deployment(template, **parameters)
        exist = {name for name in template["Resources"] if deployment.exists(name)}
        functions = {name.removesuffix("Function") for name in exist if f"{name}" in of_type(template, "AWS::Lambda::Function")}
        check(functions == want, f"{parameters}: functions are {sorted(functions)}")


def check_blocks():
    """An operation is one block of the template, and a short one."""
    with open("template.yaml", encoding="utf-8") as file:
        blocks = re.split(r"^  # ---- ", file.read(), flags=re.MULTILINE)[1:]
    operations = [block for block in blocks if "AWS::Serverless::Function" in block]
    check(len(operations) == len(FUNCTIONS), f"{len(operations)} blocks of operations")
    for block in operations:
        name = block.split(":")[0]
        lines = len(block.rstrip().splitlines())
        check(lines <= LARGER.get(name, MAX_BLOCK), f"{name}: its block has {lines} lines")
        logical = "".join(word.capitalize() for word in name.split("-"))
        check(f"  {logical}Function:\n" in block, f"{name}: its block has {logical}Function")


def check_plan(template):
    for name in ("CardSync", "ServiceModuleSync"):
        check(template["Resources"][name + "Function"]["Properties"]["Timeout"] > 15, f"{name}: a sync has more time than a request")
    check("ReservedConcurrentExecutions" not in json.dumps(template), "a new account's limit of 10 leaves nothing to reserve")
    bucket = template["Resources"]["CardPlanBucket"]["Properties"]
    check(bucket["VersioningConfiguration"] == {"Status": "Enabled"}, "the plan's bucket has versions")
    check(set(bucket["PublicAccessBlockConfiguration"].values()) == {True}, "the plan's bucket is private")
    check("BucketEncryption" in bucket, "the plan's bucket is encrypted")
    (statement,) = template["Resources"]["CardPlanBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    check((statement["Effect"], statement["Principal"], statement["Action"], statement["Condition"]) == ("Deny", "*", "s3:*", {"Bool": {"aws:SecureTransport": "false"}}), "the plan's bucket wants TLS")
    check(bucket.get("NotificationConfiguration") == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}, "the plan's bucket tells EventBridge of a changed plan")
    changed = {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"bucket": {"name": [{"Ref": "CardPlanBucket"}]}, "object": {"key": [{"Ref": "CardPlanKey"}]}}}
    for name in ("CardSync", "ServiceModuleSync"):
        check(template["Resources"][name + "FunctionPlanChanged"]["Properties"]["EventPattern"] == changed, f"{name}: is invoked for the plan, and for nothing else")
    check([rule["Prefix"] for rule in bucket["LifecycleConfiguration"]["Rules"]] == ["card-sync.", "service-modules."], "of the plan every version is kept")
    keys = re.compile(template["Parameters"]["CardPlanKey"]["AllowedPattern"])
    for key, good in (("plan.json", True), ("a/plan.json", False), ("card-sync.json", False), ("service-modules.json", False), ("card-sync.lease.json", False), ("service-modules.lease.json", False), ("my-card-sync.json", True), ("*", False)):
        check(bool(keys.search(key)) == good, f"CardPlanKey={key}")
    for key in ("", "key"):
        got = Deployment(template, SecretsKmsKeyArn=key).value(template["Resources"]["CardTicket"]["Properties"]["KmsKeyId"])
        check(got == (key or None), f"the card ticket is encrypted with {got}")


def check_notifications(template):
    """Where notifications go, who confirms cards, and that all of it is encrypted."""
    resources = {name: resource["Properties"] for name, resource in template["Resources"].items()}
    queues = of_type(template, "AWS::SQS::Queue")
    check(set(queues) == {"ConfirmQueue", "ConfirmDeadLetters", "FailedInvocations", "UndeliveredEvents"}, f"queues are {sorted(queues)}")
    for name, policy in of_type(template, "AWS::SQS::QueuePolicy").items():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            sources = {source for values in statement.get("Condition", {}).values() for source in values}
            check(statement["Principal"] == {"Service": "events.amazonaws.com"} and sources == {"aws:SourceArn"}, f"{name}: {statement['Principal']} may send with the condition {sources}")
    check(resources["FailedInvocations"]["SqsManagedSseEnabled"] is True, "FailedInvocations is encrypted; it has no personal data")
    for key in ("", "key"):
        deployment = Deployment(template, MerchantSecretArn="m", EventsKmsKeyArn=key)
        for name in ("ConfirmQueue", "ConfirmDeadLetters"):
            got = deployment.value(resources[name]["SqsManagedSseEnabled"]), deployment.value(resources[name]["KmsMasterKeyId"])
            check(got == ((None, "key") if key else (True, None)), f"{name}: is encrypted with {got}")
        for name in ("EventBus", "EventArchive"):  # without a key of the customer's EventBridge uses its own
            got = deployment.value(resources[name]["KmsKeyIdentifier"])
            check(got == (key or None), f"{name}: is encrypted with {got}")
    check(resources["EventArchive"]["RetentionDays"] == {"Ref": "EventArchiveDays"}, "the archive's days are the parameter's")
    for confirm, exist in (("AUTO", True), ("OWN", False)):
        deployment = Deployment(template, MerchantSecretArn="m", ConfirmCards=confirm)
        for name in ("ConfirmRule", "ConfirmQueue", "ConfirmDeadLetters", "ConfirmQueuePolicy", "ConfirmQueueMapping"):
            check(deployment.exists(name) == exist, f"with ConfirmCards={confirm}: {name}")
        check(deployment.exists("EventBus"), f"with ConfirmCards={confirm} there is a bus")
    queue, function = resources["ConfirmQueue"], resources["BrandConfirmFunction"]
    check(queue["RedrivePolicy"]["deadLetterTargetArn"] == {"Fn::GetAtt": ["ConfirmDeadLetters", "Arn"]}, "the queue has dead letters")
    check(queue["VisibilityTimeout"] >= 6 * function["Timeout"], "a message stays invisible for six timeouts of the function")
    check(resources["ConfirmDeadLetters"]["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"], "dead letters outlive the queue's messages")
    mapping = resources["ConfirmQueueMapping"]
    check(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], "a batch can fail in part")
    check(mapping["ScalingConfig"] == {"MaximumConcurrency": 2}, "two instances of 2 confirms a second stay under WeChat's limit of 5")
    target, = resources["ConfirmRule"]["Targets"]
    check(target["Arn"] == {"Fn::GetAtt": ["ConfirmQueue", "Arn"]} and "DeadLetterConfig" in target, "the rule fills the queue, and loses nothing")
    check(resources["ConfirmRule"]["EventBusName"] == {"Ref": "EventBus"}, "the rule listens to the bus")
    check(resources["ConfirmRule"]["EventPattern"] == {"source": ["membercard"], "detail-type": [{"suffix": ".USER_CARD.CREATE"}]}, "the rule takes card-events' notifications of opened brand cards only")
    check(resources["EventBusPolicy"]["Statement"] == {
        "Effect": "Deny", "Principal": "*", "Action": "events:PutEvents", "Resource": {"Fn::GetAtt": ["EventBus", "Arn"]},
        "Condition": {"StringEquals": {"events:source": "membercard"}, "ArnNotEquals": {"aws:PrincipalArn": {"Fn::GetAtt": ["CardEventsRole", "Arn"]}}},
    }, f"the bus has the policy {resources['EventBusPolicy']['Statement']}")
    check(resources["CardEventsFunction"]["Timeout"] >= 5, "card-events has its 4.5 s")


def check_rules(template):
    rules = [rule["Properties"] for rule in of_type(template, "AWS::Events::Rule").values() if "EventBusName" not in rule["Properties"]]
    check(len(rules) == 6, f"{len(rules)} rules")
    for rule in rules:
        for target in rule["Targets"]:
            check(target.get("DeadLetterConfig") == {"Arn": FAILED}, f"{target['Arn']}: an event that is not delivered is kept")
            function = target["Arn"]["Fn::GetAtt"][0]
            check(json.loads(target["Input"]) == {"action": ACTIONS[function]}, f"a rule sends {function} {target['Input']}")
    timers = [rule for rule in rules if "ScheduleExpression" in rule]
    check({"Ref": "SyncRate"} in [rule["ScheduleExpression"] for rule in timers], "the sync's rate is the parameter's")
    for rule in timers:
        schedule = {"sync": "SyncSchedule", "refresh": "TicketSchedule", "check": "KeyCheckSchedule"}[json.loads(rule["Targets"][0]["Input"])["action"]]
        check(rule["State"] == {"Ref": schedule}, f"{schedule} can disable its schedule")


    configs = of_type(template, "AWS::Lambda::EventInvokeConfig").values()
    check({config["Properties"]["FunctionName"]["Ref"] for config in configs} == set(ACTIONS), "who is invoked asynchronously")
    for config in configs:
        check(config["Properties"]["DestinationConfig"] == {"OnFailure": {"Destination": FAILED}}, f"{config}: a failed invocation is kept")
        retries = 1 if config["Properties"]["FunctionName"]["Ref"] == "KeyCheckFunction" else 0  # their schedules are more frequent
        check(config["Properties"]["MaximumRetryAttempts"] == retries, f"{config}: Lambda repeats a failed invocation {retries} times")


def emitted():
    """The metrics that the functions can emit: the constants of shared/telemetry."""
    with open("shared/telemetry/telemetry.go", encoding="utf-8") as file:
        return set(re.findall(r'^\t(\w+) = "\1"$', file.read(), flags=re.MULTILINE))


def metrics_of(alarm):
    """The metrics that an alarm watches, directly or in an expression, each with its period."""
    if "Metrics" not in alarm:
        return [alarm]
    return [m["MetricStat"]["Metric"] | {"Period": m["MetricStat"]["Period"]} for m in alarm["Metrics"] if "MetricStat" in m]


def check_alarms(template):
    """Every alarm watches a metric that exists, has a section in the runbook, and notifies by itself."""
    with open("docs/runbook.md", encoding="utf-8") as file:
        sections = set(re.findall(r"^## (\w+)$", file.read(), flags=re.MULTILINE))
    alarms = of_type(template, "AWS::CloudWatch::Alarm")
    check(not of_type(template, "AWS::CloudWatch::CompositeAlarm"), "a composite alarm that is on is silent about a second fault")
    deployment = Deployment(template, MerchantSecretArn="m", OfficialAccountSecretArn="o", FrontendAuth="WECHAT")
    ours = deployment.value(template["Resources"]["MerchantTokenFunction"]["Properties"]["Environment"]["Variables"]["METRICS_NAMESPACE"])
    watching = set()
    for name, alarm in alarms.items():
        properties = deployment.value(alarm["Properties"])
        for watched in metrics_of(properties):
            metric, namespace = watched["MetricName"], watched["Namespace"]
            if namespace == ours:
                check(metric in emitted(), f"{name}: no function emits {metric}")
                watching.add(metric)
            else:
                check((namespace, metric) in AWS_METRICS, f"{name}: AWS has no {namespace} {metric}")
        check(name in sections, f"{name}: has no section in docs/runbook.md")
        check(f"docs/runbook.md#{name.lower()}" in properties["AlarmDescription"], f"{name}: its description leads to the runbook")
        for topic, want in (("", []), ("arn", ["arn"])):
            got = Deployment(template, AlarmTopicArn=topic).value(alarm["Properties"]["AlarmActions"])
            check(got == want, f"{name}: notifies {got}")
        # When a stack is made every alarm becomes OK: whoever is notified of that is notified of nothing.
        check("OKActions" not in properties, f"{name}: a fresh stack is quiet")
        check(("InsufficientDataActions" in properties) == (properties["TreatMissingData"] == "missing"), f"{name}: notifies when data is missing")
    check(watching == set(emitted()), f"no alarm watches {set(emitted()) - watching}")
    check(sections - {"Codes"} >= set(alarms), "sections without an alarm")
    check_periods(template)
    check_dashboard(template)


def check_periods(template):
    """An alarm of what runs on a schedule looks back further than the schedule's rate, by less than the rate itself."""
    unit = {"minutes": 60, "hour": 3600, "hours": 3600, "day": 86400}
    for parameter, alarm in (("KeyCheckRate", "KeyCheckAlarm"), ("SyncRate", "SyncFailuresAlarm")):
        for rate in template["Parameters"][parameter]["AllowedValues"]:
            number, name = rate.removeprefix("rate(").removesuffix(")").split()
            seconds = int(number) * unit[name]
            (metric,) = metrics_of(Deployment(template, **{parameter: rate}).value(template["Resources"][alarm]["Properties"]))
            period = metric["Period"]
            # Older pages limit the periods that an alarm looks at to a day in all.
            check(period <= 86400, f"{alarm}: with {rate} its period is {period}")
            check(seconds < period <= 2 * seconds and period % 60 == 0, f"{alarm}: with {rate} its period is {period}")
            if parameter == "SyncRate":
                overdue = Deployment(template, SyncRate=rate).value(template["Resources"]["SyncOverdueAlarm"]["Properties"]["Period"])
                check(overdue >= 3 * seconds, f"SyncOverdueAlarm: with {rate} its period is {overdue}")
    queue = template["Resources"]["ConfirmQueue"]["Properties"]
    with open("functions/brand-confirm/queue.go", encoding="utf-8") as file:
        receives = int(re.search(r"maxReceives = (\d+)", file.read())[1])
    check(queue["RedrivePolicy"]["maxReceiveCount"] == receives, f"brand-confirm makes a dead letter after {receives} times")


def check_dashboard(template):
    """The dashboard is JSON for every stack, searches for nothing, and graphs each function once."""
    body, parts = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    check("SEARCH" not in body, "the dashboard searches")
    for parameters in ({"MerchantSecretArn": "m"}, {"OfficialAccountSecretArn": "o"}, {"MerchantSecretArn": "m", "OfficialAccountSecretArn": "o", "FrontendAuth": "WECHAT"}):
        deployment = Deployment(template, **parameters)
        check(len(re.findall(r"\.Arn}", deployment.text(parts["Alarms"]))) == sum(map(deployment.exists, of_type(template, "AWS::CloudWatch::Alarm"))), f"{parameters}: the dashboard has every alarm")
        text = re.sub(r"\$\{(\w+)\}", lambda name: deployment.text(parts[name[1]]) if name[1] in parts else name[0], body)
        widgets = {widget["properties"]["title"]: widget["properties"] for widget in json.loads(text)["widgets"]}
        check(len(widgets) >= 9, f"{parameters}: the dashboard has {sorted(widgets)}")
        want = sorted("${%s}" % name for name in of_type(template, "AWS::Lambda::Function") if deployment.exists(name))
        for title in ("Invocations by function", "Duration by function, p99 ms", "Errors by function", "Throttles by function"):
            got = sorted(metric[3] for metric in widgets[title]["metrics"])
            check(got == want, f"{parameters}: {title} graphs {got}")


# How a code stands in the source: as the code of an error, or as that of a record.
CODE = re.compile(r'(?:Code(?:: +| [:=]?= )|cmp\.Or\([\w.]*Code, )"([A-Z][A-Z_]+)"|slog\.Level\w+, "([A-Z][A-Z_]+)"|\.End\([^"\n]*"[^"]*", "([A-Z][A-Z_]+)"|pageRefused\("([A-Z][A-Z_]+)"')


def check_codes():
    """Every code that a caller or a record can have is explained in the runbook."""
    with open("docs/runbook.md", encoding="utf-8") as file:
        section = file.read().partition("\n## Codes\n")[2]
    rows = re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE)
    explained = {code for row in rows for code in re.findall(r"`([^`]+)`", row)}
    codes = set()
    for folder, _, files in [entry for root in ("shared", "functions") for entry in os.walk(root)]:
        for name in files:
            if name.endswith(".go") and not name.endswith("_test.go"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    codes |= {code for found in CODE.findall(file.read()) for code in found if code}
    check(len(codes) > 8, f"codes found: {sorted(codes)}")
    for code in sorted(codes):
        check(any(known.startswith(code + "<") or known == code for known in explained), f"docs/runbook.md does not explain {code}")
    with open("shared/apierror/errcode.go", encoding="utf-8") as file:
        errcodes = re.findall(r"(?<= )-1\b|\b\d{5}\b", file.read())
    check(len(errcodes) > 8, f"errcodes found: {errcodes}")
    for number in errcodes:
        check(re.search(rf"(?<!\d){number}(?!\d)", section), f"docs/runbook.md does not explain errcode {number}")


def check_deploying(template):
    """Every parameter and every output stands in the page for those who deploy."""
    for path in ("docs/deploying.md", "docs/zh-CN/deploying.md"):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for name in [*template["Parameters"], *template["Outputs"]]:
            check(f"`{name}`" in text, f"{path} does not name {name}")


def check_queries(template):
    """Every saved query stands in the runbook, by its name and as its text, to be pasted."""
    queries = of_type(template, "AWS::Logs::QueryDefinition")
    check(len(queries) >= 6, f"{len(queries)} saved queries")
    for path in ("docs/runbook.md", "docs/zh-CN/runbook.md"):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for name, query in queries.items():
            saved = query["Properties"]["Name"]["Fn::Sub"].removeprefix("${AWS::StackName}/")
            check(f"`{saved}`" in text, f"{name}: {path} does not name it")
            check(f"query '{query['Properties']['QueryString'].strip()}'" in text, f"{name}: {path} has another text")


def check_api(template):
    for name, logs in of_type(template, "AWS::Logs::LogGroup").items():
        check(logs["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}, f"{name}: log retention")
    for name, stage in of_type(template, "AWS::ApiGatewayV2::Stage").items():
        check("AccessLogSettings" in stage["Properties"], f"{name}: access log")
        for parameters, want in (({"MerchantSecretArn": "m"}, OPEN_LIMIT), ({"MerchantSecretArn": "m", "NotificationPathSuffix": "/s"}, None), ({}, None)):
            got = Deployment(template, **parameters).value(stage["Properties"]["RouteSettings"])
            check(got == want, f"{name}: with {parameters} the routes' own limits are {got}")
        check("ThrottlingRateLimit" in stage["Properties"]["DefaultRouteSettings"], f"{name}: throttling")
    cors = template["Resources"]["Api"]["Properties"]["CorsConfiguration"]
    for origins, want in (([""], None), (["https://shop.example.com"], ["https://shop.example.com"])):
        deployment = Deployment(template, AllowedOrigins=origins)
        configured = deployment.value(cors)
        check((configured and configured["AllowOrigins"]) == want, f"CORS with {origins} is {configured}")


def check_routes(deployment, auth, authorization, authorizer):
    template = deployment.template
    check(all("Body" not in api["Properties"] for api in of_type(template, "AWS::ApiGatewayV2::Api").values()), "no routes elsewhere")
    found = set()
    for name, resource in of_type(template, "AWS::ApiGatewayV2::Route").items():
        route = resource["Properties"]
        key = deployment.value(route["RouteKey"])
        function, caller = ROUTES.get(key, (None, None))
        found.add(key)
        want = {FRONTEND: (authorization, authorizer), EVERYBODY: ("NONE", None)}.get(caller, ("AWS_IAM", None))
        got = deployment.value(route["AuthorizationType"]), deployment.value(route.get("AuthorizerId"))
        check(got == want, f"{auth}: {key} requires {got}")
        integration = route["Target"]["Fn::Sub"].removeprefix("integrations/${").removesuffix("}")
        uri = template["Resources"][integration]["Properties"]["IntegrationUri"]
        check(uri == {"Fn::GetAtt": [f"{function}Function", "Arn"]}, f"{name} goes to {uri}")
        timeout = template["Resources"][f"{function}Function"]["Properties"]["Timeout"]
        check(timeout <= 30, f"{name}: API Gateway waits for 30 s, and {function} takes {timeout}")
        check(template["Resources"][integration]["Properties"]["PayloadFormatVersion"] == "2.0", f"{name}: the function gets events of format 2.0")
        check(template["Resources"][integration]["Properties"]["CredentialsArn"] == {"Fn::GetAtt": ["ApiRole", "Arn"]}, f"{name} is invoked with ApiRole")
    check(found == set(ROUTES), f"{auth}: routes are {sorted(found)}")
    for other, (_, resource) in AUTHORIZATION.items():
        if resource:
            properties = template["Resources"][resource]["Properties"]
            check(properties["IdentitySource"] == ["$request.header.Authorization"], f"{resource}: a login is cached for the caller who sent it")
            if resource == "WechatAuthorizer":
                form = properties["AuthorizerPayloadFormatVersion"], properties["EnableSimpleResponses"]
                check(form == ("2.0", True), f"{resource}: the function's answers are of the form {form}")
            check(deployment.exists(resource) == (other == auth), f"{auth}: {resource} exists only with {other}")


check_blocks()
check_codes()
for partition in ("us-east-1", "cn-north-1"):
    check_template(partition)
sys.exit(summary("template"))
