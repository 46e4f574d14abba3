"""What `helm template` makes of the chart: `pytest tests/chart` with pytest and PyYAML; helm from PATH or $HELM."""
import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/gatehouse"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
HELM = os.environ.get("HELM") or shutil.which("helm") or str(CACHE / "gatehouse/kubernetes/helm")
DEV = {"redis": {"dev": {"enabled": True}}}


def helm(*args, values=None):
    """Runs helm with `values` as a values file on standard input."""
    command = [HELM, *args, *(["-f", "-"] if values is not None else [])]
    return subprocess.run(command, input=json.dumps(values or {}), text=True, capture_output=True, check=False)


def render(values=DEV, release="gatehouse", namespace="gatehouse"):
    """The rendered objects by (kind, name, namespace)."""
    result = helm("template", release, str(CHART), "--namespace", namespace, values=values)
    assert result.returncode == 0, result.stderr
    objects = [o for o in yaml.safe_load_all(result.stdout) if o]
    keys = [(o["kind"], o["metadata"]["name"], o["metadata"].get("namespace")) for o in objects]
    assert len(set(keys)) == len(keys), "an object is rendered twice"
    return dict(zip(keys, objects, strict=True))


def refusal(values):
    """What helm says about values that it must refuse."""
    result = helm("template", "gatehouse", str(CHART), values=values)
    assert result.returncode != 0, "was accepted"
    return result.stderr


def of_kind(objects, kind):
    return [o for o in objects.values() if o["kind"] == kind]


def config(objects):
    return yaml.safe_load(objects["ConfigMap", "gatehouse", "gatehouse"]["data"]["operator.yaml"])


def operator(objects):
    return objects["Deployment", "gatehouse", "gatehouse"]["spec"]["template"]["spec"]


def test_lint_is_clean():
    result = helm("lint", "--strict", str(CHART), values=DEV)
    assert result.returncode == 0, result.stdout + result.stderr


def test_without_redis_says_what_to_set():
    assert "redis.url is required" in refusal({})


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"redis": {"url": "redis://user:secret@host:6379"}}, "/redis/url"),
        ({"redis": {"url": "http://host"}}, "/redis/url"),
        ({"redis": {"url": "redis://r", "minReplicas": 6}}, "/redis/minReplicas"),
        ({"redis": {"users": "managed", "dev": {"enabled": True}}}, "/redis/users"),
        ({"identity": {"local": True}, **DEV}, "/identity/local"),
        ({"image": {"digest": "sha256:1"}, **DEV}, "/image/digest"),
        ({"policy": {"default": {"targetRefs": []}}, **DEV}, "/policy/default"),
        ({"watch": {"namespaces": [f"n{i}" for i in range(11)]}, **DEV}, "/watch/namespaces"),
        ({"replicaCount": 2, **DEV}, "replicaCount"),
    ],
)
def test_schema_refuses(values, field):
    assert field in refusal(values)


def test_schema_covers_every_value():
    def walk(schema, values, path):
        for key, value in values.items():
            assert key in schema["properties"], f"{path}{key} is missing in values.schema.json"
            below = schema["properties"][key]
            if isinstance(value, dict) and "properties" in below:
                assert below["additionalProperties"] is False, f"{path}{key} accepts unknown keys"
                walk(below, value, f"{path}{key}.")

    walk(json.loads((CHART / "values.schema.json").read_text()), yaml.safe_load((CHART / "values.yaml").read_text()), "")


def test_crds_are_the_generated_ones():
    generated = {p.name: p.read_text() for p in (ROOT / "crds").glob("*.yaml")}
    copied = {p.name: p.read_text() for p in (CHART / "files/crds").glob("*.yaml")}
    assert generated, "crds/ is empty: run `gatehouse crds`"
    assert copied == generated, "stale: cp crds/*.yaml charts/gatehouse/files/crds/"
    rendered = of_kind(render(), "CustomResourceDefinition")
    assert [c["spec"] for c in rendered] == [yaml.safe_load(text)["spec"] for _, text in sorted(generated.items())]


def test_crds_are_kept_unless_told_otherwise():
    def policies(values):
        crds = of_kind(render({**DEV, "crds": values}), "CustomResourceDefinition")
        return [c["metadata"].get("annotations", {}).get("helm.sh/resource-policy") for c in crds]

    assert policies({}) == ["keep", "keep"]
    assert policies({"keep": False}) == [None, None]
    assert policies({"enabled": False}) == []


@pytest.mark.parametrize("name", ["gatehouse", "gatehouse-redis"])
def test_pods_meet_the_restricted_standard(name):
    pod = render()["Deployment", name, "gatehouse"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert container["livenessProbe"] and container["readinessProbe"]


def labels(objects):
    """Every label of the objects and of their pods."""
    for o in objects.values():
        yield from o["metadata"].get("labels", {}).items()
        if o["kind"] == "Deployment":
            yield from o["spec"]["selector"]["matchLabels"].items()
            yield from o["spec"]["template"]["metadata"]["labels"].items()


def test_labels_are_texts_whatever_the_release_is_called():
    found = list(labels(render(release="42")))
    assert ("app.kubernetes.io/instance", "42") in found
    assert [pair for pair in found if not isinstance(pair[1], str)] == []


def test_names_of_namespaces_are_texts_whatever_they_are_called():
    watch = {"watch": {"namespaces": ["456", "1e3"]}, "hosts": {"allow": ["*.{namespace}.example.com"]}}
    objects = render({**DEV, **watch}, namespace="123")
    found = {o["metadata"].get("namespace") for o in objects.values() if o["kind"] != "CustomResourceDefinition"}
    found |= {s["namespace"] for o in objects.values() for s in o.get("subjects", [])}
    assert found == {"123", "456", "1e3"}


def test_names_of_what_values_name_are_texts_too():
    login = {"name": "1", "usernameKey": "2", "passwordKey": "3"}
    tls = {"enabled": True, "ca": {"name": "4", "key": "5"}, "certificate": {"name": "6"}}
    own = {"serviceAccount": {"name": "7"}, "pod": {"priorityClassName": "8"}}
    objects = render({"redis": {"url": "rediss://r", "existingSecret": login, "tls": tls}, **own})
    volumes = {v["name"]: v for v in operator(objects)["volumes"]}
    assert volumes["redis-login"]["secret"]["secretName"] == "1"
    assert [i["key"] for i in volumes["redis-login"]["secret"]["items"]] == ["2", "3"]
    ca = volumes["redis-ca"]["configMap"]
    assert (ca["name"], ca["items"][0]["key"]) == ("4", "5")
    assert volumes["redis-certificate"]["secret"]["secretName"] == "6"
    assert (operator(objects)["serviceAccountName"], operator(objects)["priorityClassName"]) == ("7", "8")
    assert ("ServiceAccount", "7", "gatehouse") in objects
    for binding in of_kind(objects, "RoleBinding") + of_kind(objects, "ClusterRoleBinding"):
        assert [s["name"] for s in binding["subjects"]] == ["7"]


def test_the_label_of_the_chart_takes_any_version(tmp_path):
    chart = tmp_path / "gatehouse"
    shutil.copytree(CHART, chart)
    about = yaml.safe_load((chart / "Chart.yaml").read_text())
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "1.2.3-rc.1+build.7"}))
    result = helm("template", "gatehouse", str(chart), values=DEV)
    assert result.returncode == 0, result.stderr
    said = {line.strip() for line in result.stdout.splitlines() if line.strip().startswith("helm.sh/chart:")}
    assert said == {"helm.sh/chart: gatehouse-1.2.3-rc.1_build.7"}


def test_the_operator_stands_by_and_may_be_drained():
    objects = render()
    assert objects["Deployment", "gatehouse", "gatehouse"]["spec"]["replicas"] == 2
    assert objects["PodDisruptionBudget", "gatehouse", "gatehouse"]["spec"]["maxUnavailable"] == 1
    assert not of_kind(render({**DEV, "replicas": 1}), "PodDisruptionBudget")


def test_every_rule_has_a_reason():
    for template in ["rbac.yaml", "rbac-aggregate.yaml"]:
        lines = (CHART / "templates" / template).read_text().splitlines()
        rules = [i for i, line in enumerate(lines) if re.match(r"\s*- apiGroups:", line)]
        assert rules
        for i in rules:
            assert lines[i - 1].strip().startswith("# "), f"{template}:{i + 1} has no reason"


def rules_of(objects, kind, name="gatehouse", namespace=None):
    return objects[kind, name, namespace]["rules"]


def test_rights_are_narrow():
    for rule in rules_of(render(), "ClusterRole"):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
        if "secrets" in rule["resources"]:
            assert rule["resources"] == ["secrets"]
            assert rule["verbs"] == ["get", "create", "update"]
    lease = rules_of(render(), "Role", "gatehouse-lease", "gatehouse")
    assert all(r["resources"] == ["leases"] for r in lease)
    assert [r["verbs"] for r in lease if r.get("resourceNames") != ["gatehouse"]] == [["create"]]


def test_namespaced_mode_grants_nothing_in_the_cluster():
    values = {**DEV, "watch": {"namespaces": ["a", "b"]}, "hosts": {"allow": ["*.{namespace}.example.com"]}}
    objects = render(values)
    assert not of_kind(objects, "ClusterRole") and not of_kind(objects, "ClusterRoleBinding")
    everywhere = rules_of(render(), "ClusterRole")
    for namespace in "ab":
        assert rules_of(objects, "Role", namespace=namespace) == everywhere
        assert objects["RoleBinding", "gatehouse", namespace]["roleRef"]["kind"] == "Role"
    assert config(objects)["watch"] == {"namespaces": ["a", "b"]}


def test_namespaced_mode_needs_hosts():
    assert "hosts.allow is required" in refusal({**DEV, "watch": {"namespaces": ["a"]}})
    for watch in [{"namespaces": ["a"]}, {"labelSelector": "a=b"}]:
        assert "must have {namespace}" in refusal({**DEV, "watch": watch, "hosts": {"allow": ["*.example.com"]}})


def test_write_access_is_not_for_viewers():
    objects = render()
    view, edit = objects["ClusterRole", "gatehouse-view", None], objects["ClusterRole", "gatehouse-edit", None]
    assert {v for r in view["rules"] for v in r["verbs"]} == {"get", "list", "watch"}
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert not any("status" in x for r in edit["rules"] for x in r["resources"])


def test_redis_by_url_secret_and_ca():
    objects = render(
        {
            "redis": {
                "url": "rediss://redis.infra.svc:6380",
                "existingSecret": {"name": "redis-admin", "usernameKey": "user", "passwordKey": "pass"},
                "tls": {"ca": {"kind": "Secret", "name": "redis-tls", "key": "ca.pem"}},
            }
        }
    )
    assert not [n for (_, n, _) in objects if n == "gatehouse-redis"]
    redis = config(objects)["redis"]
    assert redis["url"] == "rediss://redis.infra.svc:6380"
    mounts = {m["name"]: m["mountPath"] for m in operator(objects)["containers"][0]["volumeMounts"]}
    volumes = {v["name"]: v for v in operator(objects)["volumes"]}
    paths = set()
    for name, mount in mounts.items():
        paths |= {f"{mount}/{i['path']}" for i in volumes[name].get("secret", {}).get("items", [])}
    assert {redis["usernameFile"], redis["passwordFile"], redis["tls"]["caFile"]} == paths
    assert {i["key"] for i in volumes["redis-login"]["secret"]["items"]} == {"user", "pass"}
    assert volumes["redis-ca"]["secret"] == {"secretName": "redis-tls", "items": [{"key": "ca.pem", "path": "ca.crt"}]}


def test_redis_by_sentinels_and_as_a_cluster():
    sentinel = config(render({"redis": {"url": "rediss+sentinel://a:26379,b/mymaster"}}))["redis"]
    assert sentinel["url"] == "rediss+sentinel://a:26379,b/mymaster" and "minReplicas" not in sentinel
    tls = {"enabled": True, "certificate": {"name": "redis-client"}, "serverName": "redis.internal"}
    objects = render({"redis": {"nodes": ["a:6379", "b"], "tls": tls, "minReplicas": 0}})
    cluster = config(objects)["redis"]
    assert cluster["nodes"] == ["a:6379", "b"] and not cluster["url"] and cluster["minReplicas"] == 0
    mounts = {m["name"]: m["mountPath"] for m in operator(objects)["containers"][0]["volumeMounts"]}
    assert cluster["tls"] == {
        "certFile": f"{mounts['redis-certificate']}/tls.crt",
        "keyFile": f"{mounts['redis-certificate']}/tls.key",
        "serverName": "redis.internal",
    }
    volumes = {v["name"]: v for v in operator(objects)["volumes"]}
    assert volumes["redis-certificate"]["secret"] == {"secretName": "redis-client"}
    assert "/redis/nodes" in refusal({"redis": {"nodes": ["user:secret@a"]}})


@pytest.mark.parametrize(
    ("own", "field"),
    [
        ({"url": "redis://r:6379"}, "url"),
        ({"nodes": ["a:6379"]}, "nodes"),
        ({"existingSecret": {"name": "redis-admin"}}, "existingSecret"),
        ({"tls": {"enabled": True}}, "tls.enabled"),
        ({"tls": {"ca": {"name": "redis-ca"}}}, "tls.ca"),
        ({"tls": {"certificate": {"name": "redis-client"}}}, "tls.certificate"),
        ({"tls": {"serverName": "redis.internal"}}, "tls.serverName"),
        ({"minReplicas": 1}, "minReplicas"),
    ],
)
def test_the_development_redis_stands_alone(own, field):
    assert f"redis.{field} is for a Redis of your own" in refusal({"redis": {**DEV["redis"], **own}})


def test_nothing_secret_is_rendered_but_the_development_password():
    assert not of_kind(render({"redis": {"url": "redis://r:6379"}}), "Secret")
    assert [s["metadata"]["name"] for s in of_kind(render(), "Secret")] == ["gatehouse-redis"]


def test_the_development_redis_has_a_password_that_the_operator_signs_in_with():
    def password(objects):
        return base64.b64decode(objects["Secret", "gatehouse-redis", "gatehouse"]["data"]["password"]).decode()

    assert len(password(render())) == 32 and password(render()) != password(render())
    objects = render({"redis": {"dev": {"enabled": True, "password": "hunter2"}}})
    assert password(objects) == "hunter2"
    redis = objects["Deployment", "gatehouse-redis", "gatehouse"]["spec"]["template"]["spec"]["containers"][0]
    assert redis["args"][redis["args"].index("--requirepass") + 1] == "$(REDIS_PASSWORD)"
    key = {"name": "gatehouse-redis", "key": "password"}
    assert redis["env"] == [{"name": "REDIS_PASSWORD", "valueFrom": {"secretKeyRef": key}}]
    assert "hunter2" not in json.dumps([o for o in objects.values() if o["kind"] != "Secret"])
    login = next(v for v in operator(objects)["volumes"] if v["name"] == "redis-login")["secret"]
    assert login == {"secretName": "gatehouse-redis", "items": [{"key": "password", "path": "password"}]}
    mounts = {m["name"]: m["mountPath"] for m in operator(objects)["containers"][0]["volumeMounts"]}
    assert config(objects)["redis"]["passwordFile"] == f"{mounts['redis-login']}/password"
    assert "usernameFile" not in config(objects)["redis"]


def test_what_looks_like_a_number_stays_a_text():
    # The hash of this password begins with sixteen digits; an API server takes no number for an annotation.
    values = {"redis": {"dev": {"enabled": True, "password": "password-59"}}}
    for o in render(values, release="12", namespace="34").values():
        templates = [o["metadata"], o.get("spec", {}).get("template", {}).get("metadata", {})]
        texts = [m.get(part, {}) for m in templates for part in ("labels", "annotations")] + [o.get("data", {})]
        texts += [{part: m[part]} for m in templates for part in ("name", "namespace") if part in m]
        assert all(isinstance(v, str) for t in texts for v in t.values()), o


def test_every_field_of_the_operators_configuration_is_rendered():
    # The operator's own tests read this file and know that it has every field.
    rendered = config(render(yaml.safe_load((ROOT / "tests/chart/full.yaml").read_text())))
    assert rendered == yaml.safe_load((ROOT / "operator/tests/golden/operator.yaml").read_text())


def test_a_change_of_the_configuration_rolls_the_operator():
    def annotation(values):
        return render(values)["Deployment", "gatehouse", "gatehouse"]["spec"]["template"]["metadata"]["annotations"]

    assert annotation(DEV) == annotation(DEV)
    assert annotation(DEV) != annotation({**DEV, "gateway": {"replicas": 3}})


def test_images_by_digest():
    digest = "sha256:" + "a" * 64
    objects = render({**DEV, "image": {"digest": digest}, "gateway": {"image": {"digest": digest}}})
    assert operator(objects)["containers"][0]["image"] == f"ghcr.io/gatehouse-dev/operator@{digest}"
    assert config(objects)["gateway"]["image"] == f"ghcr.io/gatehouse-dev/gateway@{digest}"


def test_long_release_names_stay_within_bounds():
    for kind, name, _ in render(release="r" * 53):
        assert len(name) <= 63 or kind == "CustomResourceDefinition"


def test_notes_lead_on_and_warn():
    def notes(values):
        result = helm("install", "gatehouse", str(CHART), "--dry-run=client", values=values)
        assert result.returncode == 0, result.stderr
        return result.stdout.split("NOTES:")[1]

    assert "kubectl -n demo wait --for=condition=Ready mcps/quickstart" in notes({"redis": {"url": "redis://r:6379"}})
    assert "WARNING" not in notes({"redis": {"url": "redis://r:6379"}})
    assert "keeps nothing" in notes(DEV)
    assert "TenantIsolated=False" in notes({"redis": {"url": "redis://r:6379", "users": "Shared"}})
    assert "kubectl create namespace demo" in notes(DEV) and "kubectl get mcps -A" in notes(DEV)
    some = {"namespaces": ["team-a", "team-b"], "labelSelector": "colour=blue"}
    namespaced = notes({**DEV, "watch": some, "hosts": {"allow": ["*.{namespace}.example.com"]}})
    assert "kubectl -n team-a apply" in namespaced and "kubectl get mcps -n team-a" in namespaced
    assert "by Roles in the watched namespaces" in namespaced and "by Roles" not in notes(DEV)
    assert "colour=blue" in namespaced and "demo" not in namespaced.replace("demo backend", "")
    refused = notes({**DEV, "identity": {"local": "Refused"}})
    assert "quickstart" not in refused and "crds/examples" in refused
