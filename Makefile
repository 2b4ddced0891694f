# What CI runs is what a person runs. `make help` lists the targets.

.DEFAULT_GOAL := help
.PHONY: help run dev db build test lint fmt bench sqlx-prepare sqlx-check clean image image-test
MAKEFLAGS += --no-print-directory

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Run MapleAI at http://localhost:3000 with a private PostgreSQL, until Ctrl-C
	@scripts/dev/run.sh

dev: ## The same, built and started again after every change
	@scripts/dev/dev.sh

db: ## Open psql in the private PostgreSQL (ARGS go to psql)
	@scripts/dev/db.sh $(ARGS)

build: ## Build the release binary
	@scripts/dev/cargo.sh build --release --locked

test: ## Run all tests, with what they need installed and started
	@scripts/test/all.sh

lint: ## Check formatting, clippy, dependencies and shell scripts
	@scripts/lint/all.sh

fmt: ## Format the code
	@scripts/dev/cargo.sh fmt

bench: ## Measure the gateway against a mock upstream (ARGS go to the bench)
	@scripts/bench.sh $(ARGS)

image: ## Build the container image (IMAGE names it)
	@scripts/image/build.sh

image-test: ## Build the image, run it, and check what is said of it
	@scripts/image/test.sh

sqlx-prepare: ## Write .sqlx anew, after a query or migration has changed
	@scripts/dev/sqlx.sh prepare

sqlx-check: ## Fail if .sqlx differs from the queries and migrations
	@scripts/dev/sqlx.sh check

clean: ## Remove what building MapleAI made; the development database in .local stays
	@scripts/dev/cargo.sh clean --package mapleai
