#!/bin/bash
{directives}
# A job of Helixband, made by `python -m helixband.jobs`. The same file begins the job and resumes it.
cd {folder} || exit 1
folder=$PWD
id=$HELIXBAND_JOB_ID
[ -n "$id" ] || id=$SLURM_ARRAY_JOB_ID${{SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}}
[ -n "$id" ] || id=$SLURM_JOB_ID
[ -n "$id" ] || id=$$
unset HELIXBAND_JOB_ID  # jobs that the run itself sends have ids of their own

event() {{  # what, a detail
    echo "$1 $2 $(date -u +%Y-%m-%dT%H:%M:%SZ) $id" >> "$folder/job.events"
}}

end() {{  # the exit code; whatever ends this script ends here
    trap '' USR1 TERM INT
    cd /
    [ -z "$work" ] || rm -rf "$work"
    event exit "$1"
    if [ "$goes_on" = yes ] && [ "$1" != 0 ] && [ -n "$SLURM_JOB_ID" ]; then
        event requeue -
        scontrol requeue "$SLURM_JOB_ID" || event requeue refused
    fi
}}

stop() {{  # by a signal: the run ends as by SIGTERM, and keeps its last epoch
    interrupted=yes
    [ -z "$run" ] || kill -TERM "$run" 2> /dev/null
    why=$(reason)
    event signal "$1:$why"
    [ "$1" != USR1 ] && [ "$why" != TIMEOUT ] || goes_on={requeue}
    [ -n "$run" ] || exit 143
}}

reason() {{  # what Slurm says of this job, in one word
    [ -n "$SLURM_JOB_ID" ] || {{ echo -; return; }}
    timeout 10 scontrol show job -o "$SLURM_JOB_ID" 2> /dev/null | awk '
        match($0, /JobState=[A-Z_]+/) {{ state = substr($0, RSTART + 9, RLENGTH - 9) }}
        /Reason=TimeLimit/ {{ state = "TIMEOUT" }}
        /PreemptTime=[0-9]/ {{ state = "PREEMPTED" }}
        END {{ print state ? state : "-" }}'
}}

if grep -qs "^cancel [^ ]* [^ ]* $id\$" job.events; then
    exit 143  # before it began
fi
trap 'end $?' EXIT
trap 'stop USR1' USR1
trap 'stop TERM' TERM
trap 'stop INT' INT
event start "$(uname -n):$$"

# The machine
{setup}

# The code and the data, on storage of this node
work=$(mktemp -d "${{SLURM_TMPDIR:-${{TMPDIR:-/tmp}}}}/helixband.XXXXXXXX") || exit 1
mkdir "$work/code" && tar -xzf code.tar.gz -C "$work/code" || exit 1
data={data}
if [ ! -e "$data" ]; then
    echo "error: --data $data is not there, on $(uname -n)" >&2
    exit 1
fi
case {stage} in
    extract) mkdir "$work/data" && tar -xf "$data" -C "$work/data" || exit 1 ;;
    copy) cp -RL "$data" "$work/data" || exit 1 ;;
    *) ln -s "$data" "$work/data" || exit 1 ;;
esac
cd "$work/code" || exit 1

python={python}
if [ -n {requirements} ]; then
    "$python" -m venv "$work/environment" || exit 1
    python=$work/environment/bin/python
    "$python" -m pip install --quiet --requirement {requirements} || exit 1
fi

# The command line; JOB_latest_checkpoint at the end of a path is the newest checkpoint below it
set -- {argv}
for word; do
    shift
    case $word in
        */JOB_latest_checkpoint)
            below=$(dirname "$word")
            word=$(find -L "$below" -name '*.pt' -type f -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
            [ -n "$word" ] || {{ echo "error: there is no checkpoint below $below" >&2; exit 1; }} ;;
    esac
    set -- "$@" "$word"
done
export PYTHONUNBUFFERED=1  # what it prints is to be seen at once
"$python" {program} "$@" --data "$work/data" --result {results} &
run=$!
interrupted=yes
while [ -n "$interrupted" ]; do  # a signal ends the waiting, not the run
    interrupted=
    wait "$run"
    code=$?
done
exit "$code"
