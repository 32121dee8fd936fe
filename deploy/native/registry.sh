# shellcheck shell=bash disable=SC2154
# Apicurio Registry from its published jars: it answers Confluent's API. Schemas are in its memory, and end with it.

# The version is the one of docker-compose.yml.
registry_version=3.0.9
registry_home=$home/apicurio-registry-$registry_version

registry_install() {
  need registry java default-jre-headless
  java_17 registry
  if [[ -d $registry_home ]]; then return; fi
  need registry mvn maven
  rm -rf "$registry_home.new"
  mkdir -p "$registry_home.new"
  # Later versions of the plugin want to read all parents of the artifact, of which none is needed. This one leaves a file where it runs.
  step "registry: Apicurio Registry $registry_version with mvn" "$home/log/mvn-registry.log" \
    env -C "$registry_home.new" mvn --batch-mode org.apache.maven.plugins:maven-dependency-plugin:2.10:unpack \
    "-Dartifact=io.apicurio:apicurio-registry-app:$registry_version:tar.gz:all" \
    "-DoutputDirectory=$registry_home.new" || return 1
  mv "$registry_home.new" "$registry_home"
}

registry_start() {
  launch registry java -Xmx384m -XX:-UsePerfData -Dquarkus.http.host=127.0.0.1 "-Dquarkus.http.port=$(port_of registry)" \
    -jar "$(find "$registry_home" -name "apicurio-registry-app-$registry_version-runner.jar" | head -n 1)"
}

registry_ready() { http_pong "$(port_of registry)" "$registry_api/subjects"; }

registry_stop() { stop registry TERM; }
