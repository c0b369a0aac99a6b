echo "$ENVUP_KIT_SECRET" "$@"
