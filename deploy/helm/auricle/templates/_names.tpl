{{/* Names and labels. */}}

{{- define "auricle.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end -}}

{{/* Labels that never change, of one component. Takes root and name. */}}
{{- define "auricle.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{/* Labels that never change, of the pods that the release runs: a model that is rolled out beside it is another track. */}}
{{- define "auricle.podSelector" -}}
{{ include "auricle.selector" . }}
auricle/track: stable
{{- end -}}

{{/* All labels of an object of a component. Takes root and name. */}}
{{- define "auricle.labels" -}}
{{ include "auricle.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ .root.Chart.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end -}}

{{/* metadata of an object of a component. Takes root and name; the object bears the component's name. */}}
{{- define "auricle.metadata" -}}
name: {{ include "auricle.fullname" .root }}-{{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "auricle.labels" . | nindent 2 }}
{{- end -}}

{{/* Reference of an image. Takes root and name. */}}
{{- define "auricle.image" -}}
{{- with .root.Values.image }}
{{- with .registry }}{{ . }}/{{ end }}auricle/{{ $.name }}:{{ .tag | default $.root.Chart.AppVersion }}
{{- end }}
{{- end -}}

{{/* A value as an environment variable has it: whole numbers without exponent, lists as JSON. */}}
{{- define "auricle.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}
{{- else if kindIs "slice" . }}{{ toJson . }}
{{- else }}{{ . }}{{ end }}
{{- end -}}

{{/* Folder of the model on its volume; services.encoder.ready names it so. */}}
{{- define "auricle.modelFolder" -}}
/models/{{ .Values.model.name | trimAll "/" | replace "/" "--" }}
{{- end -}}

{{- define "auricle.redisHost" -}}
{{- if .Values.redis.internal.enabled }}{{ include "auricle.fullname" . }}-redis{{ else }}{{ .Values.redis.external.host }}{{ end }}
{{- end -}}

{{- define "auricle.redisPort" -}}
{{- if .Values.redis.internal.enabled }}6379{{ else }}{{ .Values.redis.external.port | int }}{{ end }}
{{- end -}}

{{/* Address of Redis; the password is put in by Kubernetes from the variable REDIS_PASSWORD. */}}
{{- define "auricle.redisUrl" -}}
{{- $external := not .Values.redis.internal.enabled -}}
{{- if and $external .Values.redis.external.tls }}rediss{{ else }}redis{{ end }}://
{{- if .Values.redis.password.secret }}:$(REDIS_PASSWORD)@{{ end }}
{{- include "auricle.redisHost" . }}:{{ include "auricle.redisPort" . }}/{{ if $external }}{{ .Values.redis.external.database | int }}{{ else }}0{{ end }}
{{- end -}}

{{- define "auricle.storeUrl" -}}
{{ .Values.store.url | default "file:///data" }}
{{- end -}}
