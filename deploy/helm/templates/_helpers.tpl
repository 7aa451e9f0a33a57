{{- define "edge.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- /* Neither a label nor an image's tag may have the + of a version between releases. */}}
{{- define "edge.appVersion" -}}
{{- .Chart.AppVersion | replace "+" "_" }}
{{- end }}

{{- define "edge.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "edge.labels" -}}
{{ include "edge.selectorLabels" . }}
app.kubernetes.io/version: {{ include "edge.appVersion" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "edge.hasToken" -}}
{{- if or .Values.apiToken.existingSecret .Values.apiToken.value }}yes{{ end }}
{{- end }}

{{- define "edge.maxAge" -}}
{{- if gt (int .Values.replicas) 1 }}0{{ else }}{{ .Values.maxAge }}{{ end }}
{{- end }}
