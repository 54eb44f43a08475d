# The model's part of tests/native/run, which sources it.

model=$here/model
explorer=(coroutine memory visited ops step canon explore trace main)
core=(journal pins ring spare waiters)
helpers=(ledger log log_read)
# The explorer switches stacks by hand and hashes them: no canaries, no shadow stack, no frame pointers.
model_flags="-DSHMQ_MODEL -fno-stack-protector -fomit-frame-pointer"
[[ $(uname -m) == x86_64 ]] && model_flags+=" -fcf-protection=none"

# Small enough to be explored without reductions, too: the verdict must be the same.
naive=('memory-*' append-two wait-one wait-two-sleepers roll-one retire-looker reuse-one readers-one readers-joining \
    holds-move holds-late-set-of-another offsets-one spare-one pins-reader pins-fork pins-tenants pins-two-takers \
    mapping-one mapping-fork)

sources_in() {
    local directory=$1 name
    shift
    for name in "$@"; do echo "$directory/$name.c"; done
}

build_explorer() {
    [[ -d $build/model ]] && return
    # shellcheck disable=SC2046
    compile "$build/model" "-O2 $model_flags -I$native -I$model" $(sources_in "$model" "${explorer[@]}")
}

# link_scenario FILE PROGRAM ROOT OPTIMIZATION: with the sources below ROOT, the repository or a mutated copy of it.
link_scenario() {
    local file=$1 program=$2 copy=$3 flags
    read -ra flags <<<"$4 $model_flags -I$copy/shmq/_native -I$copy/tests/native/model"
    # shellcheck disable=SC2046
    "$cc" "${common[@]}" "${flags[@]}" -o "$program" $(sources_in "$copy/shmq/_native" "${core[@]}") \
        $(sources_in "$copy/tests/native/model" "${helpers[@]}") "$copy/tests/native/model/scenario_$file.c" \
        "$build"/model/*.o
}

explore() {
    local file=$1 status=0
    shift
    "$build/model_$file" "$@" >>"$build/model_$file.log" 2>&1 || status=$?
    ((status <= 1)) || fail "model $file $*: ended with status $status"
}

# One line per scenario; under a failed one, the schedule that breaks it.
run_model() {
    local source file log line
    for source in "$model"/scenario_*.c; do
        file=$(basename "$source" .c)
        file=${file#scenario_}
        wanted "model $file" || continue
        log=$build/model_$file.log
        : >"$log"
        if ! build_explorer || ! link_scenario "$file" "$build/model_$file" "$root" -O2; then
            fail "model $file: does not compile"
            continue
        fi
        explore "$file" ${long:+"$long"}
        explore "$file" --naive "${naive[@]}"
        while IFS= read -r line; do
            case $line in
            "ok "*) pass "${line#ok }" ;;
            "FAILED "*) fail "${line#FAILED }" ;;
            *) echo "$line" ;;
            esac
        done <"$log"
    done
}

# Leaves one line in its directory: what came of it.
try_mutant() {
    local name=$1 target=$2 properties=$3 copy=$build/mutant_$1 broken scenario=()
    mkdir -p "$copy/shmq" "$copy/tests/native"
    cp -r "$native" "$copy/shmq/"
    cp -r "$model" "$copy/tests/native/"
    if ! python3 "$model/mutate.py" apply "$name" "$copy" >"$copy/result" 2>&1; then
        return
    fi
    if ! link_scenario "${target%%:*}" "$copy/program" "$copy" "-O1 -w" >"$copy/log" 2>&1; then
        echo "mutant $name does not compile: $(grep -m 1 error "$copy/log")" >"$copy/result"
        return
    fi
    [[ $target == *:* ]] && scenario=("${target#*:}")
    # To the first failure; a mutant that needs longer than this has escaped.
    if timeout 300 "$copy/program" --first "${scenario[@]}" >"$copy/log" 2>&1; then
        echo "mutant $name escapes: every scenario of $target holds" >"$copy/result"
        return
    fi
    broken=$(sed -n 's/^ *property \([a-z-]*\):.*/\1/p' "$copy/log" | head -n 1)
    if [[ $broken && "|$properties|" == *"|$broken|"* ]]; then
        echo "ok $broken $(sed -n 's/^FAILED model \([^:]*\):.*/by \1/p' "$copy/log")" >"$copy/result"
    else
        echo "mutant $name breaks ${broken:-nothing named} instead of $properties" >"$copy/result"
    fi
}

run_mutants() {
    local name target properties result chosen=()
    while read -r name target properties; do
        wanted "mutant $name" || continue
        chosen+=("$name")
        build_explorer || return
        while (($(jobs -rp | wc -l) >= jobs)); do wait -n || true; done
        try_mutant "$name" "$target" "$properties" &
    done < <(python3 "$model/mutate.py" list)
    wait
    for name in ${chosen[@]+"${chosen[@]}"}; do
        result=$(head -n 1 "$build/mutant_$name/result" 2>/dev/null || echo "mutant $name left no result")
        case $result in
        "ok "*) pass "mutant $name: caught, $(sed 's/^ok //' <<<"$result")" ;;
        *) fail "$result" ;;
        esac
    done
}
