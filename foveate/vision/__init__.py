"""Seeing on ONNX Runtime alone: detector, encoder, calibrated counting, redaction and evidence pictures.

Pictures come in as uint8 RGB arrays; labels, scores, boxes and vectors go out. It knows no device, no wire
and no question. `boxes`, `vocabulary` and `likelihood` import no third party; `detect` and `encode` open
networks.
"""
