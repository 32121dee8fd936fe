# shellcheck shell=bash disable=SC2154
# Pings over the servers' own protocols, in plain bash, of a port of 127.0.0.1: an open port is no answer. At most 3 s each.

# ask PORT REQUEST COUNT: sends the request (in printf's escapes), prints the first COUNT bytes of the answer in hex.
ask() {
  # shellcheck disable=SC2016
  timeout 3 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf "$2" >&3
    head -c "$3" <&3 | od -An -v -tx1 | tr -d " \n"' ask "$@" 2>/dev/null
}

# Metadata request: key 3, version 0, correlation id 7, no client id, no topics (which means all). The answer begins with its length,
# the correlation id and the number of brokers in the cluster: none as long as the broker is fenced.
kafka_pong() {
  local answer
  answer=$(ask "$1" '\x00\x00\x00\x0e\x00\x03\x00\x00\x00\x00\x00\x07\xff\xff\x00\x00\x00\x00' 12) || return 1
  [[ ${answer:8:8} == 00000007 && ${answer:16:8} =~ ^[0-9a-f]{8}$ && ${answer:16:8} != 00000000 ]]
}

# OP_MSG {count: "ping", $db: "orders"}: unlike the command `ping`, it needs the storage behind the server. The answer is
# {n: 0, ok: 1.0} in 45 bytes, or a longer one that begins so, or an error with ok: 0.0.
mongodb_pong() {
  local header='\x3a\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00' flags_and_kind='\x00\x00\x00\x00\x00' answer
  # shellcheck disable=SC2016
  local document='\x25\x00\x00\x00\x02count\x00\x05\x00\x00\x00ping\x00\x02$db\x00\x07\x00\x00\x00orders\x00\x00'
  answer=$(ask "$1" "$header$flags_and_kind$document" 45) || return 1
  # The element "ok": type double, its name, 1.0 with the least significant byte first.
  [[ $answer == *016f6b00000000000000f03f* ]]
}

# http_pong PORT PATH: GET is answered with 200.
http_pong() {
  local answer
  # The first bytes are "HTTP/1.1 200".
  answer=$(ask "$1" "GET $2 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" 12) || return 1
  [[ $answer == 485454502f312e3120323030 ]]
}
