# shellcheck shell=bash disable=SC2154
# Apache Kafka from its published jars: one broker, on 127.0.0.1 alone.

kafka_version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$native/kafka/pom.xml")
kafka_libs=$home/kafka-$kafka_version

kafka_install() {
  need kafka java default-jre-headless
  java_17 kafka
  if [[ -d $kafka_libs ]]; then return; fi
  need kafka mvn maven
  rm -rf "$kafka_libs.new"
  step "kafka: $kafka_version with mvn" "$home/log/mvn-kafka.log" \
    mvn --batch-mode --file "$native/kafka/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$kafka_libs.new" || return 1
  mv "$kafka_libs.new" "$kafka_libs"
}

kafka_start() {
  local config=$run/kafka.properties
  kafka_settings >"$config"
  cp "$native/kafka/log4j2.properties" "$run/"
  kafka_format "$config" || return 1
  launch kafka java "-Xmx${ORDERS_SERVICES_KAFKA_HEAP:-512m}" -XX:-UsePerfData \
    "-Dlog4j2.configurationFile=$run/log4j2.properties" -cp "$kafka_libs/*" kafka.Kafka "$config"
}

# The last of two equal keys holds. The controller has another address of the loopback, because its port (Kafka wants another one)
# is that of the broker of the next offset.
kafka_settings() {
  local setting port
  port=$(port_of kafka)
  cat "$native/kafka/server.properties"
  printf '%s\n' "listeners=BROKER://127.0.0.1:$port,CONTROLLER://127.0.0.2:$((port + 1))" \
    "controller.quorum.voters=1@127.0.0.2:$((port + 1))" "log.dirs=$data/kafka"
  for setting in ${ORDERS_SERVICES_KAFKA_SETTINGS:-}; do printf '%s\n' "$setting"; done
}

# meta.properties is the last thing that formatting writes; what an interrupted one left would be refused.
kafka_format() {
  if [[ -e $data/kafka/meta.properties ]]; then return; fi
  rm -rf "$data/kafka"
  step 'kafka: formatting its data folder' "$run/kafka-format.log" \
    java -Xmx64m "-Dlog4j2.configurationFile=$run/log4j2.properties" -cp "$kafka_libs/*" \
    kafka.tools.StorageTool format --config "$1" --cluster-id "$(kafka_cluster)"
}

# 16 random bytes in Base64 for URLs; the first is fixed, so that the id never begins with a dash.
kafka_cluster() { { printf o && head -c 15 /dev/urandom; } | base64 | tr '+/' '-_' | tr -d '='; }

kafka_ready() { kafka_pong "$(port_of kafka)"; }

kafka_stop() { stop kafka TERM; }
