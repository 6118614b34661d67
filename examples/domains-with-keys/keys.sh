#!/usr/bin/env bash
# Makes the foreign keys between the domains of tenants.yaml, once their migrations have made the tables. It can be run again.
#
#   examples/domains-with-keys/keys.sh NAMESPACE
#
# It works as the owners of both tables, by their migration Secrets: the one that is referred to gives REFERENCES on that table to
# the other's owner role, the other makes the key, and the privilege is taken back. The key stays.
set -euo pipefail
namespace=$1
work=$(mktemp --directory)
trap 'rm --recursive "$work"' EXIT

# Runs SQL as a domain's owner. What it logs in with is in the environment, where no list of processes shows it.
as() (
    secret=$(kubectl --namespace "$namespace" get secret "$1-migrations" --output json) || exit 1
    eval "$(jq --raw-output '.data | map_values(@base64d) | {
        PGHOST: .host, PGPORT: .port, PGDATABASE: .database, PGUSER: .username, PGPASSWORD: .password, PGSSLMODE: .sslmode,
        AUTHORITY: (.["ca.crt"] // "")
    } | to_entries[] | "export \(.key)=\(.value | @sh)"' <<<"$secret")"
    if [ -n "$AUTHORITY" ]; then
        echo "$AUTHORITY" >"$work/ca.crt"
        export PGSSLROOTCERT=$work/ca.crt
    fi
    # In one transaction, and no PGOPTIONS, so that it can go through a pooler.
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --command "SET LOCAL client_min_messages = warning; $2"
)

owner() {
    kubectl --namespace "$namespace" get tenantschema "$1" --output jsonpath='{.status.roles.owner}'
}

# The same with what may meet the operator, which takes the privilege back when a survey finds it: at the same moment (`tuple
# concurrently updated`), or just before the key is made.
again() {
    local problem
    for _ in 1 2 3 4 5; do
        if problem=$("$@" 2>&1); then return; fi
    done
    echo "$problem" >&2
    return 1
}

make() {
    as "$4" "GRANT REFERENCES ON $5 TO \"$6\""
    as "$1" "ALTER TABLE $2 DROP CONSTRAINT IF EXISTS $2_$3_fkey,
                 ADD CONSTRAINT $2_$3_fkey FOREIGN KEY ($3) REFERENCES $4.$5 (id) NOT VALID"
}

# key DOMAIN TABLE COLUMN refers to DOMAIN TABLE, by its column id.
key() {
    local to
    to=$(owner "$1")
    again make "$@" "$to"
    again as "$4" "REVOKE REFERENCES ON $5 FROM \"$to\""
    # Writes of both tables go on while the rows that are there are checked.
    as "$1" "ALTER TABLE $2 VALIDATE CONSTRAINT $2_$3_fkey"
}

key education courses teacher people persons
key admissions applications applicant people persons
key examinations results course education courses
key finance fees payer people persons
key finance fees course education courses
key library loans borrower people persons
key health visits patient people persons
key transport passes holder people persons
key housing rooms tenant people persons
key messages letters recipient people persons
