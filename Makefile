# Weir: `make run` and `make test` do all their own set-up. `make help` tells the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Outside the tree, so that only the first build is cold, whichever clone it comes from.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/weir/target
DEV := $(CARGO_TARGET_DIR)/debug
RELEASE := $(CARGO_TARGET_DIR)/release
# cargo-nextest where it is there; else cargo's own runner, two tests at a time because they start real processes.
SOAK ?= test(no_schedule) or test(/^(cut|shared_kills)::/)
TESTS = $(shell cargo nextest --version >/dev/null 2>&1 \
	&& echo cargo nextest run --workspace || echo RUST_TEST_THREADS=2 cargo test --workspace)

# What tests need beside the binaries; each is empty where it can't be had.
FINDS = WEIR_MODEL="$$(cargo xtask model)" WEIR_PYTHON="$$(cargo xtask venv)" \
	WEIR_IDP="$$(cargo xtask idp || true)" WEIR_OPA="$$(cargo xtask oracle || true)" \
	WEIR_SLAPD="$$(cargo xtask slapd || true)" \
	WEIR_REDIS="$$(cargo xtask redis || true)" WEIR_POSTGRES="$$(cargo xtask postgres || true)" \
	WEIR_FOCUS="$$(cargo xtask focus || true)" WEIR_BROWSER="$$(cargo xtask browser || true)"

.PHONY: help run test soak bench lint setup

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1	\2/' | expand -t 14

run: setup ## a ready gateway with its own engine, a real model and two demo tenants
	@echo "== model"
	cargo xtask model
	@echo "== release build (the first takes minutes)"
	cargo build --release -p weir -p weir-engine
	@echo "== weir demo (Ctrl-C ends it)"
	exec "$(RELEASE)/weir" demo

test: setup ## the house rules and every test, against the real binaries
	@echo "== house rules"
	cargo xtask tidy
	@echo "== build (the first takes minutes)"
	cargo build --workspace --all-targets
	@echo "== model, Python packages and identity provider of the tests"
	cargo xtask model
	cargo xtask venv
	cargo xtask idp || echo "the identity provider can't be had: tests that need it do nothing"
	cargo xtask oracle || echo "the real OPA can't be had: tests that compare with it do nothing"
	cargo xtask slapd || echo "the LDAP server can't be had: tests that need it do nothing"
	cargo xtask redis || echo "Redis can't be had: tests that need it do nothing"
	cargo xtask postgres || echo "PostgreSQL can't be had: tests that need it do nothing"
	cargo xtask browser || echo "no browser can be had: tests in a real browser do nothing"
	cargo xtask focus || echo "the validator of FOCUS can't be had: the test that needs it does nothing"
	@echo "== tests"
	WEIR_BIN="$(DEV)/weir" WEIR_ENGINE_BIN="$(DEV)/weir-engine" $(FINDS) $(TESTS)
	@echo "== all passed"

soak: setup ## an hour or more of the same tests with their full counts; SOAK='test(sim)' runs some of them
	@echo "== release build (the first takes minutes)"
	cargo build --release --workspace --all-targets
	@echo "== limits against their model, streams cut at every byte, gateways killed under a thousand streams"
	WEIR_SOAK=1 WEIR_BIN="$(RELEASE)/weir" WEIR_ENGINE_BIN="$(RELEASE)/weir-engine" $(FINDS) \
	cargo nextest run --release --workspace --profile soak --no-capture -E "$(SOAK)"

bench: setup ## direct, a bare Pingora pass-through and Weir, side by side, with ratios
	@echo "== release builds (the first take minutes)"
	cargo build --release -p weir -p weir-engine --bins --example stages
	cargo build --release --manifest-path bench/Cargo.toml
	bench/run --bin "$(RELEASE)"

lint: ## formatting, clippy, the house rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets
	cargo xtask tidy

setup:
	@.ci/setup
