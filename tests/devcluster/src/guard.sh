# Ends the processes of one state directory and removes what they leave, when no user needs them or
# when one of them is gone.
#
#   guard.sh watch DIR TICKS KEEP   until one of those two is the case (a tick is half a second)
#   guard.sh end DIR TICKS KEEP     now
#
# DIR/run holds: members/NAME with `PID START SIGNAL` (a guard's own SIGNAL is `-`), users/PID-START,
# `hold` (users do not matter), `ready` (a dead member ends the rest), `ending/` (claimed by the one
# that ends it), `outside` (directories elsewhere). KEEP is `logs` or `nothing`.
#
# It is a shell script because it has to outlive whatever program started it, and a library has no
# program of its own to leave behind.
mode=$1 dir=$2 ticks=$3 keep=$4
run=$dir/run

# alive PID START: a pid that now belongs to another process, or to a zombie, does not count.
alive() {
    if [ -r /proc/self/stat ]; then
        stat=''
        { read -r stat < "/proc/$1/stat"; } 2> /dev/null
        [ -n "$stat" ] || return 1
        # shellcheck disable=SC2086 # The fields are to be split; with two arguments before them,
        # field 22 of the file is also the twenty-second here.
        set -- "$1" "$2" ${stat##*) }
        case $3 in Z | X) return 1 ;; esac
        [ "${22}" = "$2" ]
    else
        [ "$(ps -o lstart= -p "$1" | tr -cd '[:alnum:]')" = "$2" ]
    fi
}

# any_member WHICH: whether a member is `dead` (then $dead names it), or a `running` one (other than the guards) is left.
any_member() {
    for file in "$run"/members/*; do
        pid='' start='' signal=''
        { read -r pid start signal < "$file"; } 2> /dev/null
        [ -n "$start" ] || continue
        if alive "$pid" "$start"; then
            [ "$1" = running ] && [ "$signal" != - ] && return 0
        else
            [ "$1" = dead ] && dead=${file##*/} && return 0
        fi
    done
    return 1
}

any_user() {
    for file in "$run"/users/*; do
        name=${file##*/}
        alive "${name%%-*}" "${name#*-}" && return 0
    done
    return 1
}

# send SIGNAL: to every live member but the guards; `own` stands for the one each member is to get.
send() {
    for file in "$run"/members/*; do
        pid='' start='' signal=''
        { read -r pid start signal < "$file"; } 2> /dev/null
        if [ -n "$start" ] && [ "$signal" != - ] && alive "$pid" "$start"; then
            [ "$1" = own ] || signal=$1
            kill -s "$signal" "$pid" 2> /dev/null
        fi
    done
}

# A killed PostgreSQL server leaves its System V segment, whose number is in line 7 of its pid file.
release_segment() {
    [ -r "$1" ] || return
    number=''
    { read -r _ && read -r _ && read -r _ && read -r _ && read -r _ && read -r _ && read -r _ number; } < "$1"
    [ -n "$number" ] && ipcrm -m "$number" 2> /dev/null
}

end_all() {
    mkdir "$run/ending" 2> /dev/null
    send own
    patience=100
    while any_member running && [ "$patience" -gt 0 ]; do
        patience=$((patience - 1))
        sleep 0.1
    done
    send KILL
    release_segment "$dir/data/postgres/data/postmaster.pid"
    if [ -r "$run/outside" ]; then
        while read -r outside; do
            release_segment "$outside/data/postmaster.pid"
            case $outside in */devcluster-*) rm -rf -- "$outside" ;; esac
        done < "$run/outside"
    fi
    # The list of members goes last: a guard that finds it can still end what is on it.
    rm -rf -- "$dir/data"
    if [ "$keep" = nothing ]; then
        rm -rf -- "$dir"
    else
        rm -rf -- "$run"
    fi
}

if [ "$mode" = end ]; then
    end_all
    exit
fi

idle=0
while [ -d "$run/members" ]; do
    if [ -e "$run/ready" ] && any_member dead; then
        # Once a process has begun to end things, a death says nothing about the cause.
        mkdir "$run/ending" 2> /dev/null && echo "$dead has ended, so the rest is ended too"
        end_all
        exit
    fi
    idle=$((idle + 1))
    if [ -e "$run/hold" ] || any_user; then
        idle=0
    fi
    # A user that registers just now looks for `ending` after it has, so one of the two sees the other.
    if [ "$idle" -gt "$ticks" ] && mkdir "$run/ending" 2> /dev/null; then
        if [ ! -e "$run/hold" ] && ! any_user; then
            end_all
            exit
        fi
        rmdir "$run/ending"
    fi
    sleep 0.5
done
