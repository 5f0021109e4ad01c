{{- define "hanse.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* At most 52 characters: a StatefulSet appends "-" and a hash of 10 characters to its name, and a label holds 63. */}}
{{- define "hanse.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Cluster-wide objects carry the namespace: two releases of one name may exist in two namespaces. */}}
{{- define "hanse.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "hanse.fullname" .) }}
{{- end }}

{{- define "hanse.selectorLabels" -}}
app.kubernetes.io/name: {{ include "hanse.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "hanse.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "hanse.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "hanse.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "hanse.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "hanse.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag }}
{{- with .Values.image.digest }}
{{- printf "%s:%s@%s" $.Values.image.repository $tag . }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository $tag }}
{{- end }}
{{- end }}

{{/* Name of the Secret that holds the invitation. Empty for a founder. */}}
{{- define "hanse.invitationSecret" -}}
{{- if .Values.federation.invitation }}
{{- printf "%s-invitation" (include "hanse.fullname" .) }}
{{- else }}
{{- .Values.federation.invitationSecret.name }}
{{- end }}
{{- end }}

{{- define "hanse.validate" -}}
{{- if not .Values.member.name }}
{{- fail "member.name is missing: the name of this cluster in the federation, such as acme-eu-1 (--set member.name=...)" }}
{{- end }}
{{- if not .Values.member.owner }}
{{- fail "member.owner is missing: the organisation this cluster belongs to, such as acme (--set member.owner=...)" }}
{{- end }}
{{- $ways := 0 }}
{{- if .Values.federation.found }}{{ $ways = add1 $ways }}{{ end }}
{{- if .Values.federation.invitation }}{{ $ways = add1 $ways }}{{ end }}
{{- if .Values.federation.invitationSecret.name }}{{ $ways = add1 $ways }}{{ end }}
{{- if ne (int $ways) 1 }}
{{- fail (printf "set exactly one of federation.found=true (a new federation), federation.invitationSecret.name and federation.invitation (join one: `kubectl hanse invite --owner %s` in any of its clusters makes an invitation); %d are set" .Values.member.owner (int $ways)) }}
{{- end }}
{{- end }}

{{/* The runbook of an alert: a link if it is known where they are published, else the path in the repository. */}}
{{- define "hanse.runbook" -}}
{{- $base := index . 0 }}
{{- if $base -}}
runbook_url: {{ printf "%s/%s.md" (trimSuffix "/" $base) (index . 1) }}
{{- else -}}
runbook: {{ printf "docs/runbooks/%s.md" (index . 1) }}
{{- end }}
{{- end }}
