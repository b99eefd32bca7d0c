{{/* What no schema can say: secrets and choices that must be made, each refused with what to do. */}}
{{- define "auricle.validate" -}}
{{- $v := .Values }}
{{- if and (not $v.gateway.apiKeys.open) (not $v.gateway.apiKeys.secret) }}
{{- fail (printf "gateway.apiKeys.secret is missing. Make keys with `auricle keys create TENANT`, put their lines into a file named keys, and then: kubectl --namespace %s create secret generic auricle-api-keys --from-file=keys; set gateway.apiKeys.secret=auricle-api-keys. gateway.apiKeys.open=true lets everybody in." .Release.Namespace) }}
{{- end }}
{{- if and (not $v.redis.withoutPassword) (not $v.redis.password.secret) }}
{{- fail (printf "redis.password.secret is missing. Make it with: kubectl --namespace %s create secret generic auricle-redis --from-literal=password=$(openssl rand -hex 32); set redis.password.secret=auricle-redis. redis.withoutPassword=true does without." .Release.Namespace) }}
{{- end }}
{{- if and (not $v.redis.internal.enabled) (not $v.redis.external.host) }}
{{- fail "redis.external.host is missing: redis.internal.enabled is false, so name the Redis to use." }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}
{{- fail "ingress.host is missing: the name under which clients reach the gateway." }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.tlsSecret) (not $v.ingress.clusterIssuer) }}
{{- fail "The ingress needs TLS: set ingress.clusterIssuer to a ClusterIssuer of cert-manager, or ingress.tlsSecret to a secret with the certificate." }}
{{- end }}
{{- if and $v.tls.mutual (not $v.tls.enabled) }}
{{- fail "tls.mutual needs tls.enabled: without TLS nobody shows a certificate." }}
{{- end }}
{{- if and (eq $v.scaling.mode "keda") (not $v.scaling.prometheusUrl) }}
{{- fail "scaling.prometheusUrl is missing: KEDA asks Prometheus for the services' load. scaling.mode=none scales nothing." }}
{{- end }}
{{- range $name := list "gateway" "preprocess" "encoder" "decoder" }}
{{- with (get $v $name).replicas }}{{ if gt (int .min) (int .max) }}{{ fail (printf "%s.replicas.min is more than max" $name) }}{{ end }}{{ end }}
{{- end }}
{{- end -}}
