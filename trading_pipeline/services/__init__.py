"""What the system does with its adapters: submit, settle, halt, rebuild, explain. Knows no Dagster."""
