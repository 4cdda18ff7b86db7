# Inside the lab: an agent, its instances and their consoles. To be sourced by a script that has set `host_runner`; what the consoles say
# goes to $OUT/$console_file, and the agents' log to $OUT/agent.log.
state=/run/state runtime=/run/agent
console_file=console.txt
# How often an instance is asked whether it says what is waited for, four times a second; and how many seconds its console may be silent.
tries=400 patience=30

ask() { curl --silent --show-error --fail-with-body --max-time 40 --unix-socket "$runtime/api.sock" -H 'content-type: application/json' "$@"; }
# The instance that what follows is about.
use() { id=$1 instance=http://agent/v1/instances/$1; }
# Waits until the instance says so.
until_it_says() {
  local seen
  for _ in $(seq "$tries"); do
    seen=$(ask "$instance")
    [[ $seen != *"$1"* ]] || { printf '%s\n' "$seen"; return 0; }
    [[ $seen != *'"state":"failed"'* ]] || break
    sleep 0.25
  done
  echo "$0: still not $1: $seen" >&2
  threads_of "$(cat "$state/instances/$id/guest.lock" 2> /dev/null)" >&2
  return 1
}
# What the threads of a guest's process are at, for whoever has to find out why nothing moves.
threads_of() {
  local task
  [ -n "$1" ] || return 0
  for task in "/proc/$1/task"/*; do
    echo "$(cat "$task/comm") $(cut -d')' -f2- "$task/stat" | cut -c2) $(cat "$task/schedstat" "$task/syscall" | tr '\n' ' ')"
    cat "$task/stack"
  done
}
# What the instance says of a field.
field() { ask "$instance" | grep -o "\"$1\":\(\"[^\"]*\"\|[^,}]*\)" | head -n 1 | cut -d: -f2-; }
# Waits until the guest was powered on again, and is up.
until_it_runs_anew() {
  for _ in $(seq "$tries"); do [[ $(field started_at) == "$1" || $(field started_at) == null ]] || break; sleep 0.25; done
  until_it_says '"progress":"ready"' > /dev/null
}
# Gives the agent the images of another state folder, and the user that guests run as. The files are only looked at: what is written about
# them goes to the lab's memory.
images_of() {
  id millpond-guest > /dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin millpond-guest
  mkdir -p "$state/images"
  mount --bind "$1/images" "$state/images"
}
serve() {
  "$host_runner" --state-dir "$state" --runtime-dir "$runtime" serve >> "$OUT/agent.log" 2>&1 &
  agent=$!
  for _ in $(seq 200); do ! curl --silent --unix-socket "$runtime/api.sock" http://agent/v1/host > /dev/null || return 0; sleep 0.1; done
  echo "$0: the agent does not answer" >&2
  return 1
}
# Reads the console until it says so. A byte at a time, so that what comes behind it is still there for the next look; and with no more of
# it in mind than that takes, as this is a slow machine, and a boot is long.
console_says() {
  local byte end='' said
  exec {said}>> "$OUT/$console_file"
  while IFS= read -r -t "$patience" -n 1 -d '' byte <&"${console[0]}"; do
    printf '%s' "$byte" >&"$said"
    ((${#end} < 200)) || end=${end: -100}
    end+=$byte
    [[ $end != *"$1" ]] || { exec {said}>&-; return 0; }
  done
  exec {said}>&-
  echo "$0: the console does not say $1 but: $(tail -c 4000 "$OUT/$console_file")" >&2
  return 1
}
# Opens the console, which begins with its past.
connect() {
  coproc console { "$host_runner" --state-dir "$state" --runtime-dir "$runtime" connect; }
  printf 'GET /v1/instances/%s/console HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: millpond-console\r\n\r\n' "$id" >&"${console[1]}"
}
type_in() { printf '%s\n' "$1" >&"${console[1]}"; }
# Waits for the prompt, and logs in as root; with a password where one is given.
log_in() {
  console_says 'login:'
  type_in root
  [ $# -eq 0 ] || { console_says 'Password:'; type_in "$1"; }
  console_says '#'
}
open_console() { connect; log_in "$@"; }
# Leaves the console; the guest is none the wiser.
close_console() {
  local pid=$console_PID
  exec {console[1]}>&-
  kill "$pid" 2> /dev/null || true
  wait "$pid" 2> /dev/null || true
}
# Reads what a guest says until it is gone.
last_words() {
  local pid=$console_PID
  timeout "$((patience * 2))" cat <&"${console[0]}" >> "$OUT/$console_file" || { echo "$0: the guest lives on" >&2; return 1; }
  wait "$pid" || true
}
# Runs a command after which the guest is gone, and reads what it still says.
last_command() {
  type_in "$1"
  last_words
}
