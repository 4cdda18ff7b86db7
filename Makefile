# Everything that a newcomer or CI does here. `make` alone lists the commands.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := help
# rustup's programs and the server programs of Debian are not on everybody's path.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

CARGO ?= cargo
BUILT := $(or $(CARGO_TARGET_DIR),target)
# Of `make bench`: one suite, or all.
SUITE ?= all
# Of `make fuzz`: one target, or each; and for how long.
TARGET ?=
SECONDS ?= 60
# Of `make lab`: what to run on the lab host.
CMD ?= $(BUILT)/debug/host-runner --state-dir /run/state --runtime-dir /run/agent doctor

.PHONY: help setup run demo test check lab bench fuzz clean

help: ## This list
	grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: ## Install what the app and its tests need, without building anything
	tests/setup.sh test

run: ## Open the app; without a display, `make demo`
	tests/setup.sh run
	if [ -z "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ]; then
		echo 'There is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set): running `make demo` instead.'
		exec $(MAKE) --no-print-directory demo
	fi
	$(CARGO) build --locked -p host-runner -p microvm -p millpond --bins
	$(BUILT)/debug/host-runner image build-tiny
	# The agent outlives the window. One whose program this build has replaced makes way for the new one; its guests keep running.
	for agent in $$(pgrep -u "$$(id -u)" -x host-runner || true); do
		if [ "$$(readlink "/proc/$$agent/exe")" = "$$(realpath $(BUILT))/debug/host-runner (deleted)" ]; then
			echo "Replacing the agent of an earlier build (process $$agent); its guests keep running."
			kill "$$agent" && timeout 20 tail --pid="$$agent" -f /dev/null
		fi
	done
	exec $(BUILT)/debug/millpond

demo: ## The main job by itself in the real window, without a display; pictures in target/demo
	tests/setup.sh demo
	$(CARGO) build --locked -p host-runner -p microvm -p millpond -p tests --bins
	exec $(BUILT)/debug/demo

test: ## All checks and tests, as CI runs them
	tests/setup.sh test
	$(MAKE) --no-print-directory check
	# All targets at once: the agent and the window that the tests start come from the same build as the tests.
	$(CARGO) build --locked --workspace --all-targets
	echo '== window: unit tests'
	npm --prefix ui run --silent test
	echo '== window in a browser, against the real backend'
	npm --prefix tests/e2e run --silent test
	echo '== Rust: unit and integration tests, and the drift of generated files'
	$(CARGO) nextest run --locked --workspace --no-fail-fast

check: ## Formatting, lints and types, without running anything
	echo '== formatting'
	$(CARGO) fmt --all --check
	echo '== lints'
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	echo '== window: types and lints'
	npm --prefix ui run --silent typecheck
	npm --prefix ui run --silent lint
	npm --prefix tests/e2e run --silent typecheck

lab: ## A command on a lab host with hardware virtualization, emulated: make lab CMD='…'
	tests/setup.sh test
	$(CARGO) build --locked -p host-runner -p microvm --bins
	exec tests/lab/run-in-lab -- $(CMD)

bench: ## The benchmarks, each figure a line `bench NAME VALUE UNIT`: make bench [SUITE=app|pool|vmm]
	tests/setup.sh bench
	case '$(SUITE)' in
		all) suites=(app pool vmm) ;;
		app|pool|vmm) suites=('$(SUITE)') ;;
		*) echo 'make bench: no suite $(SUITE); there are: app, pool, vmm, all' >&2; exit 2 ;;
	esac
	$(CARGO) build --locked --release -p host-runner -p microvm -p millpond -p tests --bins --examples
	for suite in "$${suites[@]}"; do
		$(BUILT)/release/bench-$$suite
		case $$suite in app) (cd tests/e2e && node bench/drag.mjs) ;; esac
	done

fuzz: ## Bytes that nobody has chosen, thrown at the microVM monitor: make fuzz [TARGET=NAME] [SECONDS=60]
	CARGO='$(CARGO)' exec host-runner/vmm/fuzz/run '$(TARGET)' '$(SECONDS)'

clean: ## Remove what was built
	$(CARGO) clean
	rm -rf ui/dist ui/node_modules tests/e2e/node_modules
