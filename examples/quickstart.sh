#!/usr/bin/env bash
# Brings up everything on this machine: a Kubernetes control plane and PostgreSQL on 127.0.0.1, the operator, and the
# tenants of this directory. What it does with kubectl and psql is what you would do by hand.
#
#   examples/quickstart.sh up|down          (or: make quickstart, make quickstart-down)
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
state=${QUICKSTART_STATE:-$target/quickstart}
devcluster=("$target/debug/devcluster" --dir "$state/devcluster")
operator=$target/debug/tenant-schema-operator
http_addr=${QUICKSTART_HTTP_ADDR:-127.0.0.1:18080}
deadline=${QUICKSTART_DEADLINE_SECONDS:-60}

step() { printf '\n==> %s\n' "$*"; }
run() { printf '$ %s\n' "$*" && "$@"; }

# When a process was started, so that a recorded pid is never taken for another process that got the same number.
started() { if [ -r /proc/self/stat ]; then cut -d ' ' -f 22 "/proc/$1/stat"; else ps -o lstart= -p "$1"; fi 2>/dev/null; }

operator_runs() {
    [ -f "$state/operator.pid" ] && { read -r pid && read -r start; } <"$state/operator.pid" && [ "$(started "$pid")" = "$start" ]
}

stop_operator() {
    operator_runs || return 0
    kill "$pid"
    for _ in $(seq 100); do operator_runs || return 0; sleep 0.2; done
    kill -9 "$pid"
}

# As its service account, with the rights that it has on any cluster.
start_operator() {
    (umask 077 && kubectl -n tenant-schema-system create token tenant-schema-operator --duration=720h >"$state/token" &&
        kubectl config view --raw --minify --flatten >"$state/operator.kubeconfig")
    kubectl --kubeconfig "$state/operator.kubeconfig" config set users.operator.tokenFile "$state/token" >/dev/null
    kubectl --kubeconfig "$state/operator.kubeconfig" config set-context --current --user operator >/dev/null
    KUBECONFIG=$state/operator.kubeconfig nohup "$operator" run --http-addr "$http_addr" >"$state/operator.log" 2>&1 </dev/null &
    printf '%s\n%s\n' "$!" "$(started "$!")" >"$state/operator.pid"
}

up() {
    step "Building the operator and the development cluster"
    # A test that has built them already says so.
    [ "${QUICKSTART_BUILD:-yes}" = no ] || cargo build --locked --workspace --bins

    step "Starting Kubernetes and PostgreSQL"
    mkdir -p "$state"
    stop_operator
    "${devcluster[@]}" up
    # From here on kubectl and psql find them.
    (umask 077 && { "${devcluster[@]}" env && echo "export PGDATABASE=tenants"; } >"$state/env")
    # shellcheck source=/dev/null
    source "$state/env"

    step "Making a database for tenants, and a login for the operator that owns it"
    [ -s "$state/password" ] || (umask 077 && head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$state/password")
    # CREATEROLE and the ownership of one database are all that the operator needs; it is no superuser.
    psql -qX -v ON_ERROR_STOP=1 -d postgres <<SQL
\set password \`cat '$state/password'\`
SELECT 'CREATE ROLE tenant_operator LOGIN CREATEROLE'
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tenant_operator') \gexec
ALTER ROLE tenant_operator PASSWORD :'password';
SELECT 'CREATE DATABASE tenants OWNER tenant_operator'
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'tenants') \gexec
SQL

    step "Installing the operator"
    run kubectl apply -f crds/
    kubectl wait --for='jsonpath={.status.conditions[?(@.type=="Established")].status}=True' -f crds/ --timeout="${deadline}s" >/dev/null
    # Its namespace, its rights, and the policy on the Secrets that it may write. This cluster has no node for its Deployment.
    awk -v RS='---\n' -v ORS='---\n' '!/\nkind: Deployment\n/' dist/install.yaml | kubectl apply --server-side -f - >/dev/null
    kubectl -n tenant-schema-system create secret generic default-postgres --dry-run=client -o yaml \
        --from-literal=host="$PGHOST" --from-literal=port="$PGPORT" --from-literal=database=tenants \
        --from-literal=username=tenant_operator --from-file=password="$state/password" \
        --from-file=ca.crt="$PGSSLROOTCERT" | kubectl apply -f -
    start_operator

    step "Declaring a database and tenants"
    run kubectl apply -f examples/database.yaml
    run kubectl apply -f examples/school.yaml -f examples/domain-schemas.yaml -f examples/service-schemas.yaml
    wait_until_ready

    step "Giving the school some tables, as its application would"
    psql -qX -v ON_ERROR_STOP=1 -d tenants <<'SQL'
SELECT 'SET ROLE ' || quote_ident(nspowner::regrole::text) FROM pg_namespace
    WHERE nspname = 'inst_3f0c1d52_8a3e_4a43_9d3b_0d1f6a2b7c11' \gexec
SET search_path = inst_3f0c1d52_8a3e_4a43_9d3b_0d1f6a2b7c11;
CREATE TABLE IF NOT EXISTS classes (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE IF NOT EXISTS pupils (id int PRIMARY KEY, name text NOT NULL, class_id int NOT NULL REFERENCES classes);
INSERT INTO classes SELECT n, 'Class ' || n FROM generate_series(1, 40) AS n ON CONFLICT DO NOTHING;
INSERT INTO pupils SELECT n, 'Pupil ' || n, 1 + n % 40 FROM generate_series(1, 20000) AS n ON CONFLICT DO NOTHING;
SQL
    kubectl wait --for=jsonpath='{.status.tableCount}'=2 tenantschema/oak-street-school --timeout="${deadline}s" >/dev/null

    step "What Kubernetes says, and what PostgreSQL says"
    run kubectl get tenantdatabases,tenantschemas
    echo
    echo "$ psql -c '\dn'"
    psql -X -c '\dn'
    cat <<TEXT
Everything is running. To go on:

  source $(shorten "$state/env")       # from here on kubectl and psql find this cluster and this database
  psql "\$(kubectl get secret oak-street-db -o jsonpath='{.data.uri}' | base64 -d)" -c 'SELECT count(*) FROM pupils'   # as its application
  kubectl apply -f examples/backup.yaml && kubectl get schemabackups
  kubectl delete tenantschema oak-street-school && psql -c '\dn'       # it is set aside, not gone

The operator's log is $(shorten "$state/operator.log"), its metrics are at http://$http_addr/metrics.
To end it all and remove its data: make quickstart-down
TEXT
}

wait_until_ready() {
    # Surveys measure sizes and find drift. Once a minute is the default; here a user is watching.
    kubectl patch tenantdatabase default --type merge -p '{"spec":{"surveyPeriodSeconds":5}}' >/dev/null
    if ! kubectl wait --for=condition=Ready tenantdatabases,tenantschemas --all --timeout="${deadline}s" >/dev/null 2>&1; then
        kubectl get tenantdatabases,tenantschemas -o wide || true
        printf '\nNot ready after %s s. The end of %s:\n' "$deadline" "$(shorten "$state/operator.log")"
        tail -n 20 "$state/operator.log"
        printf '\nEverything was left running; make quickstart-down ends it.\n'
        exit 1
    fi >&2
}

down() {
    stop_operator
    if [ -x "${devcluster[0]}" ]; then
        "${devcluster[@]}" down
    elif [ -d "$state/devcluster" ]; then
        echo "cannot end the cluster in $state/devcluster: ${devcluster[0]} is missing; build it with: cargo build -p devcluster" >&2
        exit 1
    fi
    rm -rf "$state"
}

shorten() { printf '%s' "${1#"$PWD"/}"; }

case ${1:-} in
    up | down) "$1" ;;
    *) echo "usage: examples/quickstart.sh up|down" >&2 && exit 2 ;;
esac
