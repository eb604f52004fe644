# A thin front: Meson and Ninja do the building.  `make try` and `make test` set up everything themselves.
SRC ?= .
T ?= 60
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local

.DEFAULT_GOAL := build
.PHONY: sweep-kill sweep-power try test build install check-house check bench asan tsan coverage fuzz drills release-gate clean

try: ## build, back up SRC into a vault of your own, prove it, restore it
	@tools/install-deps build
	@tools/build release
	@tools/try build/release/src/cli/holdfast "$(SRC)"

build: ## the release binary: build/release/src/cli/holdfast
	@tools/install-deps build
	@tools/build release

test: ## everything: unit, fault loops, interoperability, sanitizers, valgrind, coverage
	@tools/install-deps build test
	@tools/run-tests all

sweep-kill: ## SIGKILL and errors at thousands of kernel calls of the real program, larger trees, several seeds
	@tools/install-deps build test
	@tools/sweep kill

sweep-power: ## a power cut at every mutating kernel call, on ext4 and xfs images (root), and of restores in every shape
	@tools/install-deps build test
	@tools/sweep power

asan: ## the whole suite under AddressSanitizer and UndefinedBehaviorSanitizer
	@tools/install-deps build test
	@tools/run-tests asan

tsan: ## the threaded tests under ThreadSanitizer
	@tools/install-deps build test
	@tools/run-tests tsan

coverage: ## line and branch coverage, gated
	@tools/install-deps build test
	@tools/run-tests coverage

check-house: ## rooms, imports, headers, errors, format: seconds
	@tools/check-rooms
	@tools/check-headers
	@tools/check-errors
	@tools/check-format
	@tools/check-imports

check: ## check-house, warnings of both compilers, analyzers
	@tools/install-deps build test check
	@$(MAKE) --no-print-directory check-house
	@tools/check-warnings
	@tools/check-analyzers

bench: ## the table of the performance goals, against restic and borg; writes bench/RESULTS.md
	@tools/install-deps build bench
	@tools/build release
	@bench/run build/release/src/cli/holdfast

fuzz: ## every fuzz target for T seconds: make fuzz T=60
	@tools/install-deps build test
	@tools/fuzz $(T)

install: build ## to PREFIX (default /usr/local)
	@meson install -C build/release --no-rebuild

drills: ## the four disaster drills with the release binary; evidence in build/drill-evidence
	@tools/install-deps build test
	@tools/build release
	@tools/drill build/release/src/cli/holdfast build/drill-evidence

release-gate: ## may this commit be released?  reads the verdicts of the last make test and of make drills
	@tools/release-gate

clean:
	rm -rf build
