{{/* The operator's settings. Each is a flag of `hanse-operator run`. A value that is empty sets no variable, so that the
     operator uses its own default. */}}
{{- define "hanse.env" -}}
- name: HANSE_NAME
  value: {{ .Values.member.name | quote }}
- name: HANSE_OWNER
  value: {{ .Values.member.owner | quote }}
- name: HANSE_DATA_DIR
  value: /var/lib/hanse
- name: HANSE_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: HANSE_PEER_LISTEN
  value: 0.0.0.0:7443
- name: HANSE_ADMIN_LISTEN
  value: 0.0.0.0:7444
{{- with .Values.peer.address }}
- name: HANSE_PEER_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- if .Values.federation.found }}
- name: HANSE_FOUND
  value: "true"
{{- else }}
- name: HANSE_INVITATION_FILE
  value: /etc/hanse/invitation/invitation
{{- end }}
{{- with .Values.member.provider }}
- name: HANSE_PROVIDER
  value: {{ . | quote }}
{{- end }}
{{- with .Values.member.region }}
- name: HANSE_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.member.jurisdiction }}
- name: HANSE_JURISDICTION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.member.labels }}
- name: HANSE_LABELS
  {{- $labels := list }}
  {{- range $key, $value := . }}
  {{- $labels = append $labels (printf "%s=%s" $key $value) }}
  {{- end }}
  value: {{ join "," $labels | quote }}
{{- end }}
- name: HANSE_CAPACITY
  value: {{ .Values.capacity | quote }}
{{- /* The operator reads these two only when it founds a federation. */}}
{{- with .Values.timings.lease }}
- name: HANSE_LEASE
  value: {{ . | quote }}
{{- end }}
{{- with .Values.timings.heartbeat }}
- name: HANSE_HEARTBEAT
  value: {{ . | quote }}
{{- end }}
- name: HANSE_RAFT_HEARTBEAT
  value: {{ .Values.timings.raftHeartbeat | quote }}
- name: HANSE_ELECTION_MIN
  value: {{ .Values.timings.electionMin | quote }}
- name: HANSE_ELECTION_MAX
  value: {{ .Values.timings.electionMax | quote }}
{{- with .Values.notify.urlSecret }}
{{- if .name }}
- name: HANSE_NOTIFY_URL
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end }}
{{- end }}
- name: HANSE_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
- name: RUST_LOG
  value: {{ .Values.log.filter | quote }}
{{- end }}
