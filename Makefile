# Shoal's commands. Each one first runs tools/setup, which says what it installs and touches nothing that is there already.
# Always --workspace: a build of single packages resolves other features and compiles half of the dependencies again.

SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help setup build release test failpoints test-v2 bench bench-launch bench-moves demo lint clean

help: ## Show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## Install what the build and the tests need, and unpack etcd into target/tools
	@tools/setup

build: setup ## Build everything (development profile)
	@tools/cargo build --workspace --all-targets --locked

release: setup
	@tools/cargo build --workspace --bins --release --locked
	@tools/without-failpoints

test: setup ## Run all tests: units, the store on a real etcd, containers, whole clusters
	@tools/test

failpoints: setup ## Kill and stop server, runner and stubs at every step of a start and of an end (ROUNDS=100 SEED=1)
	@tools/failpoints

test-v2: setup ## Run the container tests on cgroup v2 alone, in a virtual machine
	@tools/vm-v2

bench: release ## Measure throughput, latency and memory on this machine and print a table
	@tools/bench

bench-moves: release ## Steals and finishes a second of up to 50 nodes without containers, and lost steals, on a real etcd
	@tools/bench-moves

bench-launch: setup ## Compare a start with bare fork and exec, crun and runc
	@tools/cargo build --workspace --bins --example launch --release --locked
	@tools/bench-launch

demo: release ## Three nodes, real work, one node killed in the middle, and the account of it
	@tools/demo

lint: setup ## Formatting, clippy and documentation, every warning an error
	@tools/lint

clean: ## Delete everything that was built
	@rm -rf target
