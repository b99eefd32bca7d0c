{{/* What the restricted Pod Security Standard asks for, and a root that is never written. */}}
{{- define "auricle.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "auricle.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end -}}

{{/* Whether a component talks only to callers with a certificate: all but the gateway, whose callers have keys. Takes root, name, component. */}}
{{- define "auricle.asksCallers" -}}
{{- if and .root.Values.tls.enabled .root.Values.tls.mutual .component.grpc (ne .name "gateway") }}true{{ end }}
{{- end -}}

{{/* Environment of a component's container. Takes root, component. */}}
{{- define "auricle.env" -}}
{{- $root := .root }}{{- $c := .component }}
{{- $settings := merge (dict) $c.set ($c.values.settings | default dict) }}
{{- if and (has "redis" $c.uses) $root.Values.redis.password.secret }}
- name: REDIS_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ $root.Values.redis.password.secret }}, key: {{ $root.Values.redis.password.key }} } }
{{- end }}
{{- if $c.grpc }}
{{- $_ := set $settings "drain_seconds" $c.values.drainSeconds }}
{{- if $root.Values.tls.enabled }}
{{- $_ := set $settings "tls_cert" "/tls/tls.crt" }}{{- $_ := set $settings "tls_key" "/tls/tls.key" }}
{{- end }}
{{- if include "auricle.asksCallers" . }}
{{- $_ := set $settings "tls_client_ca" "/tls/ca.crt" }}
{{- end }}
{{- end }}
{{- range $key, $value := $settings }}
- { name: AURICLE_{{ $c.prefix }}_{{ upper $key }}, value: {{ include "auricle.text" $value | quote }} }
{{- end }}
- { name: AURICLE_LOG_LEVEL, value: {{ $root.Values.logLevel }} }
{{- with $root.Values.tracing.grpcUrl }}
- { name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }} }
{{- end }}
{{- end -}}

{{/* A probe. Takes root, name, component, live. Kubernetes' own gRPC probes speak no TLS, hence ours. */}}
{{- define "auricle.probe" -}}
{{- $probe := .component.probe }}
{{- if $probe.http }}
httpGet: { port: {{ $probe.http }}, path: {{ ternary ($probe.livePath | default $probe.path) $probe.path .live }} }
{{- else if .root.Values.tls.enabled }}
exec:
  command: [python, -m, services.common.probe, "127.0.0.1:{{ $probe.grpc }}", --timeout, "3", --tls-ca, /tls/ca.crt, --tls-name, {{ include "auricle.fullname" .root }}-{{ .name }}
    {{- if include "auricle.asksCallers" . }}, --tls-cert, /tls/tls.crt, --tls-key, /tls/tls.key{{ end }}]
{{- else }}
grpc: { port: {{ $probe.grpc }} }
{{- end }}
timeoutSeconds: 5
{{- end -}}

{{- define "auricle.mounts" -}}
{{- $uses := .component.uses }}
- { name: tmp, mountPath: /tmp }
{{- if has "model" $uses }}
- { name: model, mountPath: /models, readOnly: true }
- { name: shared-memory, mountPath: /dev/shm }
{{- end }}
{{- if has "spool" $uses }}
- { name: spool, mountPath: /spool }
{{- end }}
{{- if and (has "store" $uses) (not .root.Values.store.url) }}
- { name: store, mountPath: /data }
{{- end }}
{{- if and (has "keys" $uses) (not .root.Values.gateway.apiKeys.open) }}
- { name: keys, mountPath: /keys, readOnly: true }
{{- end }}
{{- if .root.Values.tls.enabled }}
- { name: tls, mountPath: /tls, readOnly: true }
{{- end }}
{{- end -}}

{{- define "auricle.volumes" -}}
{{- $uses := .component.uses }}{{- $name := include "auricle.fullname" .root }}{{- $v := .root.Values }}
- { name: tmp, emptyDir: { sizeLimit: 1Gi } }
{{- if has "model" $uses }}
- { name: model, persistentVolumeClaim: { claimName: {{ $v.model.volume.existingClaim | default (printf "%s-model" $name) }}, readOnly: true } }
- { name: shared-memory, emptyDir: { medium: Memory, sizeLimit: 1Gi } }
{{- end }}
{{- if has "spool" $uses }}
- { name: spool, emptyDir: { sizeLimit: {{ $v.preprocess.spoolSize }} } }
{{- end }}
{{- if and (has "store" $uses) (not $v.store.url) }}
- { name: store, persistentVolumeClaim: { claimName: {{ $v.store.volume.existingClaim | default (printf "%s-store" $name) }} } }
{{- end }}
{{- if and (has "keys" $uses) (not $v.gateway.apiKeys.open) }}
- { name: keys, secret: { secretName: {{ $v.gateway.apiKeys.secret }}, defaultMode: 0440 } }
{{- end }}
{{- if $v.tls.enabled }}
- { name: tls, secret: { secretName: {{ $name }}-{{ .name }}-tls, defaultMode: 0440 } }
{{- end }}
{{- end -}}

{{/* Pods of one component lie on different machines and in different zones where they can. */}}
{{- define "auricle.spread" -}}
{{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ $key }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "auricle.podSelector" $ | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Pod template of a component. Takes root, name, component. */}}
{{- define "auricle.pod" -}}
{{- $root := .root }}{{- $c := .component }}{{- $v := $c.values }}
metadata:
  labels:
    {{- include "auricle.labels" . | nindent 4 }}
    auricle/track: stable
  annotations:
    prometheus.io/scrape: "true"
    prometheus.io/port: {{ $c.ports.metrics | int | quote }}
    {{- with $v.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "auricle.fullname" $root }}-{{ .name }}
  automountServiceAccountToken: {{ empty (include "auricle.readsCluster" .) | not }}
  # Kubernetes would else set AURICLE_..._PORT for each Service, which are names of settings.
  enableServiceLinks: false
  # The wait for the balancers, the longest work in flight, and a little for closing.
  terminationGracePeriodSeconds: {{ add $root.Values.preStopSeconds $v.drainSeconds 15 }}
  securityContext:
    {{- include "auricle.podSecurity" . | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets: {{ toJson . }}
  {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector: {{ toJson . }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations: {{ toJson . }}
  {{- end }}
  {{- with $v.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  topologySpreadConstraints:
    {{- include "auricle.spread" . | nindent 4 }}
  {{- if has "model" $c.uses }}
  initContainers:
    # Waits until the model's job has written its last file, and never starts on half a model.
    - name: wait-for-model
      image: {{ include "auricle.image" (dict "root" $root "name" "model") }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [wait, {{ $root.Values.model.name | quote }}, /models, --timeout, {{ $root.Values.model.waitSeconds | int | quote }}]
      securityContext:
        {{- include "auricle.containerSecurity" . | nindent 8 }}
      resources: { requests: { cpu: 50m, memory: 512Mi }, limits: { memory: 1Gi } }
      volumeMounts:
        - { name: model, mountPath: /models, readOnly: true }
        - { name: tmp, mountPath: /tmp }
  {{- end }}
  containers:
    - name: {{ .name }}
      image: {{ include "auricle.image" (dict "root" $root "name" $c.image) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- with $c.args }}
      args: {{ toJson . }}
      {{- end }}
      env:
        {{- include "auricle.env" . | nindent 8 }}
      {{- if and (has "store" $c.uses) $root.Values.store.secret }}
      envFrom: [{ secretRef: { name: {{ $root.Values.store.secret }} } }]
      {{- end }}
      ports:
        {{- range $port, $number := $c.ports }}
        - { name: {{ $port }}, containerPort: {{ $number | int }} }
        {{- end }}
      startupProbe:
        {{- include "auricle.probe" (merge (dict "live" true) .) | nindent 8 }}
        periodSeconds: 5
        failureThreshold: {{ div (add $v.startupSeconds 4) 5 }}
      readinessProbe:
        {{- include "auricle.probe" (merge (dict "live" false) .) | nindent 8 }}
        periodSeconds: 5
      livenessProbe:
        {{- include "auricle.probe" (merge (dict "live" true) .) | nindent 8 }}
        periodSeconds: 20
        failureThreshold: 6
      lifecycle:
        # Callers learn first that this pod goes, then it is told to stop.
        preStop: { sleep: { seconds: {{ $root.Values.preStopSeconds | int }} } }
      resources: {{ toJson $v.resources }}
      securityContext:
        {{- include "auricle.containerSecurity" . | nindent 8 }}
      volumeMounts:
        {{- include "auricle.mounts" . | nindent 8 }}
  volumes:
    {{- include "auricle.volumes" . | nindent 4 }}
{{- end -}}
