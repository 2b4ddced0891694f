"""`make deploy` and `make rollback` (xtask/), with the real kubectl, against a cluster that is played (cluster.py)."""

import copy
import json
import shutil
import subprocess

import pytest
import yaml

import checkout
import cluster

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: played, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
contexts: [{{name: played, context: {{cluster: played, user: nobody}}}}]
users: [{{name: nobody, user: {{}}}}]
current-context: played
"""
FIRST, SECOND, THIRD = (f"registry.example/mapleai/app@sha256:{digit * 64}" for digit in "123")


def rendered(folder, name):
    text = subprocess.run(["kubectl", "kustomize", folder / "k8s" / name], capture_output=True, text=True, check=True).stdout
    return filter(None, yaml.safe_load_all(text))


class World:
    """The cluster, a checkout, and the scripts on them."""

    def __init__(self, server, folder, home):
        self.cluster, self.folder, self.home = server.cluster, folder, home
        home.mkdir()
        (home / "kubeconfig").write_text(KUBECONFIG.format(port=server.server_address[1]))

    def run(self, task, *arguments, **more):
        limits = {"POLL_SECONDS": "0.05", "ROLLOUT_LIMIT": "5", "MIGRATION_LIMIT": "5", "ROLLBACK_LIMIT": "5", "SEEN_LIMIT": "3"}
        settings = {**limits, "HOME": str(self.home), "KUBECONFIG": str(self.home / "kubeconfig"), **more}
        return checkout.run(self.folder, task, *arguments, **settings)

    def deploy(self, environment, image, **more):
        return self.run("deploy", environment, image, **more)

    def evidence(self, item):
        (folder,) = (self.folder / ".local/evidence").iterdir()
        return json.loads((folder / f"{item}.json").read_text())

    def status(self):
        return self.cluster.get("rollouts")["status"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    assert shutil.which("kubectl"), "kubectl is missing"
    folder = tmp_path_factory.mktemp("deploy")
    made = checkout.make(folder / "checkout")
    server = cluster.serve(item for name in ("staging", "production") for item in rendered(made, name))
    yield World(server, made, folder / "home")
    server.shutdown()
    server.server_close()


class States:
    """Each environment as it is once versions were deployed there, by the script itself; made once."""

    def __init__(self, world):
        self.world, self.made = world, {}

    def make(self, environment, *images):
        if (environment, images) not in self.made:
            self.world.cluster.reset()
            if images[:-1]:
                self.enter(environment, *images[:-1])
            done = self.world.deploy(environment, images[-1])
            assert done.returncode == 0, done.stdout
            self.made[environment, images] = (copy.deepcopy(self.world.cluster.objects), done.stdout, list(self.world.cluster.calls))
        return self.made[environment, images]

    def enter(self, environment, *images):
        objects = copy.deepcopy(self.make(environment, *images)[0])
        self.world.cluster.reset()
        self.world.cluster.objects = objects
        shutil.rmtree(self.world.folder / ".local", ignore_errors=True)
        return self.world


@pytest.fixture(scope="module")
def states(world):
    return States(world)


@pytest.fixture
def staging(states):
    return states.enter("staging", FIRST)


@pytest.fixture
def production(states):
    return states.enter("production", FIRST)


@pytest.fixture
def twice(states):
    """Production after two versions."""
    return states.enter("production", FIRST, SECOND)


def says(done, *texts, status=1):
    assert done.returncode == status, done.stdout
    for text in texts:
        assert text in done.stdout, f"{text!r} is not in: {done.stdout}"


def test_from_an_empty_cluster(states):
    """The namespace comes first, the migration before what serves, and what serves is nothing else."""
    for environment in ("staging", "production"):
        _, told, calls = states.make(environment, FIRST)
        created = [path for method, path, _ in calls if method == "POST"]
        assert created[0] == f"namespaces/{environment}"
        migration = created.index("jobs/mapleai-migrate-111111111111")
        serving = {"deployments/mapleai-app", "horizontalpodautoscalers/mapleai-app"}
        if environment == "production":
            serving.add("rollouts/mapleai-app")
        assert set(created[-len(serving) :]) == serving
        assert migration < len(created) - len(serving)
        assert "=== Migration mapleai-migrate-111111111111" in told


class TestDeploymentInStaging:
    def test_a_new_version(self, staging, tmp_path):
        says(staging.deploy("staging", SECOND, GITHUB_OUTPUT=str(tmp_path / "output")), "successfully rolled out", status=0)
        assert staging.cluster.image() == SECOND
        assert (tmp_path / "output").read_text() == "changed=yes\n"
        found = staging.evidence("staging")
        assert (found["outcome"], found["by"], found["detail"]) == ("passed", "make deploy ENVIRONMENT=staging", SECOND)
        assert checkout.git(staging.folder, "status", "--porcelain") == ""

    def test_the_same_version_again(self, staging, tmp_path):
        """Its Job ran; it makes room and runs again. Nothing that serves is touched."""
        (tmp_path / "output").touch()
        before = copy.deepcopy(staging.cluster.get("deployments"))
        says(staging.deploy("staging", FIRST, GITHUB_OUTPUT=str(tmp_path / "output")), status=0)
        assert staging.cluster.get("deployments") == before
        calls = [(method, path) for method, path, _ in staging.cluster.calls]
        assert ("DELETE", "jobs/mapleai-migrate-111111111111") in calls
        assert ("POST", "jobs/mapleai-migrate-111111111111") in calls
        assert (tmp_path / "output").read_text() == ""

    def test_one_that_does_not_get_up_is_taken_back(self, staging):
        staging.cluster.plans[SECOND] = "bad"
        says(staging.deploy("staging", SECOND), "exceeded its progress deadline", "did not get through in staging and was taken back")
        assert staging.cluster.image() == FIRST
        assert staging.evidence("staging")["outcome"] == "failed"

    def test_the_first_that_does_not_get_up(self, world):
        world.cluster.reset()
        world.cluster.plans[FIRST] = "bad"
        says(world.deploy("staging", FIRST), "did not get up in staging, and there is no version before it")

    def test_one_that_was_there_stays(self, staging):
        """A second run may find a fault that has nothing to do with the version."""
        staging.cluster.get("deployments")["status"]["conditions"][0]["reason"] = "ProgressDeadlineExceeded"
        says(staging.deploy("staging", FIRST), "It was there before, so it stays", "make rollback ENVIRONMENT=staging")
        assert staging.cluster.image() == FIRST

    def test_by_hand_and_back(self, states):
        staging = states.enter("staging", FIRST, SECOND)
        says(staging.run("rollback", "staging"), f"staging is back on {FIRST}", status=0)
        assert staging.cluster.image() == FIRST

    def test_back_where_there_is_nothing_before(self, staging):
        says(staging.run("rollback", "staging"), f"there is no version before {FIRST} in staging")


class TestMigration:
    def test_one_that_fails_stops_before_what_serves(self, staging):
        staging.cluster.migration = "Failed"
        says(staging.deploy("staging", SECOND), "the migration did not complete (Failed); nothing that serves was touched")
        assert staging.cluster.image() == FIRST
        assert not {path for _, path, _ in staging.cluster.calls} & {"deployments/mapleai-app", "horizontalpodautoscalers/mapleai-app"}
        # What was wrong was put right: the same version can be tried again.
        staging.cluster.migration = "Complete"
        says(staging.deploy("staging", SECOND), status=0)
        assert staging.cluster.image() == SECOND

    def test_it_gets_what_was_said_of_it(self, staging):
        backup = json.dumps({"label": "nightly: 7", "completed_at": "2026-01-01T00:00:00Z"})
        said = {"MIGRATE_REVIEWED": "ab" * 32, "MIGRATE_BY": "Ada Lovelace", "MIGRATE_BACKUP": backup}
        says(staging.deploy("staging", SECOND, **said), status=0)
        (container,) = staging.cluster.get("jobs", "mapleai-migrate-222222222222")["spec"]["template"]["spec"]["containers"]
        given = {one["name"]: one.get("value") for one in container["env"]}
        assert {name: given[f"MAPLE_{name}"] for name in said} == said
        assert not given["MAPLE_MIGRATE_OUTSIDE_WINDOW"]

    def test_one_that_never_ends(self, staging):
        staging.cluster.migration = None
        says(staging.deploy("staging", SECOND, MIGRATION_LIMIT="1"), "the migration did not complete; nothing that serves")
        assert staging.cluster.image() == FIRST


class TestRolloutInProduction:
    def test_a_new_version(self, states, twice):
        told = states.make("production", FIRST, SECOND)[1]
        for text in ("10 % of the traffic", "50 %", "100 % of the traffic", "Healthy", "evidence of 'traffic' (passed)"):
            assert text in told
        assert twice.status()["stableRS"] == twice.status()["currentPodHash"]
        assert twice.cluster.image() == SECOND

    def test_a_controller_that_does_not_run(self, production):
        production.cluster.lag = None
        done = production.deploy("production", SECOND, SEEN_LIMIT="1")
        says(done, "has not seen it yet, after 1 s", "the controller of Argo Rollouts does not react", "could not be taken back")
        assert production.cluster.image() == FIRST, "when it comes back it finds what serves"

    def test_one_that_its_analysis_stops_is_taken_back_whole(self, production):
        """Until the controller has seen it, the Rollout is as healthy as the version before: that is not taken for its own."""
        stable = production.status()["stableRS"]
        production.cluster.plans[SECOND] = "bad"
        production.cluster.lag = 3
        done = production.deploy("production", SECOND)
        says(done, "the controller has not seen it yet", "Degraded, RolloutAborted", "What its analyses found", "was taken back")
        assert production.cluster.image() == FIRST
        assert (production.status()["stableRS"], production.status()["phase"]) == (stable, "Healthy")
        assert production.cluster.weights == [0, 10, 0]
        assert production.evidence("traffic")["outcome"] == "failed"
        # The Rollout's own history now has it between the two that served: a rollback passes it by.
        production.cluster.lag = 1
        says(production.deploy("production", THIRD), status=0)
        says(production.run("rollback", "production"), f"production is back on {FIRST}", status=0)

    def test_one_that_gets_nowhere_is_taken_back(self, production):
        production.cluster.plans[SECOND] = "paused"
        done = production.deploy("production", SECOND, ROLLOUT_LIMIT="1")
        says(done, "Paused, manually paused", "not finished after 1 s", "Stopping the roll-out", "was taken back")
        assert production.cluster.image() == FIRST
        assert production.cluster.weights[-1] == 0

    def test_one_that_nobody_can_judge_waits_for_somebody(self, production):
        """At a quiet hour there is too little traffic for the analysis: that is no reason to take a good version back."""
        production.cluster.plans[SECOND] = "quiet"
        done = production.deploy("production", SECOND)
        says(done, "InconclusiveAnalysisRun", "too little traffic to judge", "promote", "make rollback ENVIRONMENT=production", status=3)
        assert production.cluster.image() == SECOND
        assert production.cluster.weights[-1] == 10

    def test_the_same_version_again_after_it_was_stopped(self, production):
        """Whoever ran it went away, so it was not taken back whole; then its fault was mended elsewhere."""
        production.cluster.plans[SECOND] = "bad"
        production.cluster.broken = {"PATCH rollouts/mapleai-app/status", "PATCH deployments/never"}
        says(production.deploy("production", SECOND), "could not be taken back (above); people are needed")
        assert production.status()["phase"] == "Degraded"
        production.cluster.broken = set()
        production.cluster.plans[SECOND] = "good"
        says(production.deploy("production", SECOND), "it is taken back whole and begins anew", status=0)
        assert production.cluster.image() == SECOND

    def test_a_cluster_that_does_not_say_what_serves(self, production):
        production.cluster.broken = {"GET rollouts/mapleai-app"}
        done = production.deploy("production", SECOND)
        says(done, "etcd is away")
        assert production.cluster.image() == FIRST, "nothing is applied when what serves is not known"


class TestRollbackInProduction:
    def test_after_a_roll_out_all_traffic_goes_back_without_steps(self, twice):
        stable = twice.status()["stableRS"]
        says(twice.run("rollback", "production", SECOND), f"From {stable} back to ", f"production is back on {FIRST}", status=0)
        assert twice.cluster.image() == FIRST and twice.status()["stableRS"] != stable
        assert not {50, 100} & set(twice.cluster.weights), "no steps: what served was judged when it was new"
        assert "rollouts-pod-template-hash" not in twice.cluster.get("deployments")["spec"]["template"]["metadata"]["labels"]
        # As the pipeline may do: a version that was taken back already does not take the one before along.
        says(twice.run("rollback", "production", SECOND), f"not to {SECOND}: nothing to take back", status=0)
        assert twice.cluster.image() == FIRST

    def test_in_the_middle_of_a_roll_out(self, twice):
        """The traffic first, by a stop; then the version."""
        twice.cluster.plans[THIRD] = "stuck"
        deployment = twice.cluster.get("deployments")
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = THIRD
        deployment["metadata"]["generation"] += 1
        says(twice.run("rollback", "production"), "Stopping the roll-out", f"production is back on {SECOND}", status=0)
        changes = [(path, body) for method, path, body in twice.cluster.calls if method == "PATCH"]
        assert changes[0] == ("rollouts/mapleai-app", {"status": {"abort": True}})
        assert changes[1][0] == "deployments/mapleai-app"

    def test_twice_goes_back_twice(self, states):
        production = states.enter("production", FIRST, SECOND, THIRD)
        says(production.run("rollback", "production"), f"production is back on {SECOND}", status=0)
        says(production.run("rollback", "production"), f"production is back on {FIRST}", status=0)
        says(production.run("rollback", "production"), "no version is known to have served before")

    def test_again_while_it_is_on_its_way(self, twice):
        """Whoever runs it again in a hurry does not turn it around."""
        twice.cluster.plans[FIRST] = "slow"
        says(twice.run("rollback", "production", ROLLBACK_LIMIT="0"), "was set back to")
        says(twice.run("rollback", "production"), "Already on the way from", f"production is back on {FIRST}", status=0)

    def test_the_pods_of_the_version_are_no_longer_known(self, twice):
        (old,) = twice.cluster.get("rollouts")["metadata"]["annotations"]["mapleai.dev/served"].split()
        del twice.cluster.objects["replicasets", old]
        says(twice.run("rollback", "production"), f"version {old} is no longer known to the cluster; deploy its image")

    def test_the_cluster_does_not_answer(self, production):
        production.cluster.broken = {"GET deployments"}
        says(production.run("rollback", "production"), "the cluster does not say what runs in production")

    def test_nothing_runs(self, world):
        world.cluster.reset()
        says(world.run("rollback", "production"), "nothing runs in production")


class TestWords:
    """What is refused, and what it says; no call reaches the cluster."""

    @pytest.fixture(autouse=True)
    def untouched(self, world):
        world.cluster.reset()
        yield
        assert world.cluster.calls == []

    @pytest.mark.parametrize("arguments", [[], ["staging"], ["staging", FIRST, "more"]])
    def test_the_number_of_words(self, world, arguments):
        says(world.run("deploy", *arguments), "Usage: cargo xtask deploy <ENVIRONMENT> <IMAGE>", status=2)

    @pytest.mark.parametrize("environment", ["base", "components", "../k8s/staging", "prod", ""])
    def test_environments(self, world, environment):
        for task in ("deploy", "rollback"):
            says(world.run(task, environment, FIRST), f"there is no environment '{environment}'; there are staging and production")

    @pytest.mark.parametrize("image", ["mapleai:latest", "mapleai@sha256:12", f"mapleai@sha256:{'0' * 64}", "A@sha256:" + "1" * 64])
    def test_images(self, world, image):
        says(world.deploy("production", image), f"'{image}' is ")

    def test_what_is_not_an_image_to_go_back_from(self, world):
        says(world.run("rollback", "production", "latest"), "'latest' is no image by digest")
        says(world.run("rollback"), "Usage: cargo xtask rollback <ENVIRONMENT> [FROM]", status=2)

    def test_no_kubectl(self, world, tmp_path):
        says(world.run("deploy", "staging", FIRST, PATH=str(tmp_path)), "kubectl is missing: install version 1.30 or newer")
