{{- define "gatehouse.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gatehouse.selectorLabels" -}}
app.kubernetes.io/name: gatehouse
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "gatehouse.labels" -}}
{{ include "gatehouse.selectorLabels" . }}
{{ include "gatehouse.commonLabels" . }}
{{- end -}}

{{- define "gatehouse.commonLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: gatehouse
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "gatehouse.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "gatehouse.fullname" .) -}}
{{- end -}}

{{- /* An image by digest when one is given, else by tag, else by the chart's version. */ -}}
{{- define "gatehouse.image" -}}
{{- $image := .image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "gatehouse.redisUrl" -}}
{{- $redis := .Values.redis -}}
{{- if $redis.dev.enabled -}}
{{- /* Silently taking one of both would leave people on a Redis that keeps nothing, or without their login. */ -}}
{{- $own := dict "url" $redis.url "nodes" $redis.nodes "existingSecret" $redis.existingSecret.name "tls.enabled" $redis.tls.enabled "tls.ca" $redis.tls.ca.name "tls.certificate" $redis.tls.certificate.name "tls.serverName" $redis.tls.serverName "minReplicas" $redis.minReplicas -}}
{{- range $field, $value := $own -}}
{{- if $value -}}
{{- fail (printf "redis.%s is for a Redis of your own, and redis.dev.enabled brings one of its own, without TLS and replicas: unset one of them" $field) -}}
{{- end -}}
{{- end -}}
{{- printf "redis://%s-redis.%s.svc:6379" (include "gatehouse.fullname" .) .Release.Namespace -}}
{{- else if not .Values.redis.nodes -}}
{{- required "redis.url is required: the Redis or Valkey that holds all state, such as redis://redis.infra.svc:6379; or set redis.dev.enabled=true to try Gatehouse without one" .Values.redis.url -}}
{{- end -}}
{{- end -}}

{{- /* The Secret with the operator's login and its keys, as YAML; nothing without one. The development Redis has its own. */ -}}
{{- define "gatehouse.redisLogin" -}}
{{- if .Values.redis.dev.enabled -}}
{{- dict "name" (printf "%s-redis" (include "gatehouse.fullname" .)) "usernameKey" "" "passwordKey" "password" | toYaml -}}
{{- else if .Values.redis.existingSecret.name -}}
{{- toYaml .Values.redis.existingSecret -}}
{{- end -}}
{{- end -}}

{{- /* What every container of this chart may not do: the restricted Pod Security Standard and a read-only root. */ -}}
{{- define "gatehouse.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "gatehouse.redisLabels" -}}
app.kubernetes.io/name: gatehouse
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: redis
{{- end -}}
