# What CI runs is what a person runs. `make help` lists the targets.

.DEFAULT_GOAL := help
.PHONY: advisories fuzz help run dev db build check test load-check lint fmt bench sqlx-prepare sqlx-check clean image image-test model-image-test k8s-test scan sbom compatibility \
	rehearse profile xtask pin deploy rollback smoke bench-check measure notify evidence checklist
MAKEFLAGS += --no-print-directory
# xtask/, built if need be.
XTASK := scripts/xtask.sh

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Run MapleAI at http://localhost:3000 with a private PostgreSQL, until Ctrl-C
	@$(XTASK) run

dev: ## The same, built and started again after every change
	@$(XTASK) dev

db: ## Open psql in the private PostgreSQL (ARGS go to psql)
	@$(XTASK) db $(ARGS)

build: ## Build the release binary
	@$(XTASK) build

profile: ## Find out which code runs under load, for release builds to be laid out by
	@$(XTASK) profile

test: ## Run all tests, with what they need installed and started
	@$(XTASK) shown tests "make test" $(XTASK) test

check: ## What differs from origin/main: formatting, clippy and unit tests, within a minute (BASE: another commit)
	@$(XTASK) check

load-check: ## Hold goodput and latency beyond capacity against those without admission; on an idle machine
	@$(XTASK) test load

lint: ## Check formatting, clippy, dependencies and shell scripts
	@$(XTASK) lint

fmt: ## Format the code
	@scripts/dev/cargo.sh fmt

bench: ## Measure the gateway against a mock upstream (ARGS go to the bench)
	@$(XTASK) bench $(ARGS)

image: ## Build the container image (IMAGE names it)
	@$(XTASK) image

image-test: ## Build the image, run it, and check what is said of it
	@$(XTASK) image-test

model-image-test: ## Build and run the image of the small model beside MapleAI (LOCAL_MODEL names its file)
	@$(XTASK) model-image-test

k8s-test: ## Render, validate and check manifests, rules, dashboards, workflows and delivery scripts (ARGS go to pytest)
	@$(XTASK) k8s-test $(ARGS)

scan: ## Security scan: dependencies, manifests, Dockerfile, workflows
	@$(XTASK) shown scan "make scan" $(XTASK) scan

fuzz: ## Fuzz the readers of what others write, a minute each (SECONDS_EACH: longer)
	@$(XTASK) fuzz

advisories: ## Known vulnerabilities in dependencies, by RustSec's database (ADVISORY_DB: another one)
	@scripts/lint/deny.sh advisories

sbom: ## Write the bill of materials (CycloneDX) to SBOM
	@$(XTASK) sbom "$(SBOM)"

compatibility: ## The previous release on the new schema, under load, and the new one on the old
	@$(XTASK) shown compatibility "make compatibility" $(XTASK) compatibility

rehearse: ## Roll out good and bad candidates with real processes (ARGS: --short, --report)
	@$(XTASK) rehearse $(ARGS)

xtask: ## Build the program that the targets call
	@$(XTASK) --version

pin: ## Write IMAGE (by digest) into k8s/ENVIRONMENT
	@$(XTASK) pin "$(ENVIRONMENT)" "$(IMAGE)"

deploy: ## Migrate and roll out IMAGE (by digest) in ENVIRONMENT, and follow it to its end
	@$(XTASK) deploy "$(ENVIRONMENT)" "$(IMAGE)"

rollback: ## Give ENVIRONMENT's traffic back to the version before (before FROM, if said)
	@$(XTASK) rollback "$(ENVIRONMENT)" $(FROM)

smoke: ## Check what runs at URL (and OPS_URL) from outside
	@$(XTASK) shown smoke "make smoke" scripts/health-check.sh "$(URL)" $(OPS_URL)

bench-check: ## Hold what runs at URL against its performance bounds
	@$(XTASK) shown benchmark "make bench-check" scripts/delivery/bench-check.sh "$(URL)"

measure: ## Hold ENVIRONMENT's last minutes, by PROMETHEUS_URL, against a release's bounds
	@$(XTASK) measure "$(ENVIRONMENT)"

notify: ## Tell people MESSAGE, by NOTIFY_WEBHOOK_URL
	@$(XTASK) shown notification "make notify" $(XTASK) notify "$(MESSAGE)"

evidence: ## Write down that BY says ITEM of the checklist holds
	@$(XTASK) evidence "$(ITEM)" passed "$(BY)"

checklist: ## What is not shown of this commit yet (PHASE: pre, during, post; by the binary in IMAGE, if said)
	@$(XTASK) checklist "$(PHASE)" "$(IMAGE)"

sqlx-prepare: ## Write .sqlx anew, after a query or migration has changed
	@$(XTASK) sqlx prepare

sqlx-check: ## Fail if .sqlx differs from the queries and migrations
	@$(XTASK) sqlx check

clean: ## Remove what building MapleAI made; the development database in .local stays
	@scripts/dev/cargo.sh clean --package mapleai
