"""What the command does, in order; no other folder knows the order.

`session.py` - checks one command line before any model
`invocation.py` - the record of the command line
`same_variants.py` - variants that are one on this base
`seed_run.py` - one seed's variants and their record
`outside_run.py` - a run of a system's predictions
`variant_run.py` - the sections of one variant
`stages.py` - cached stage results and the process
`endpoint_stages.py` - the answers of a model behind a URL
`interleaved_speed.py` - speed trials across the variants
`trackers.py` - curve and metrics to `report_to`
`grading.py` - answers to rows, rates and sections
`adapter_path.py` - the adapters of `--adapter-path`
`adapter_out.py` - a copy of an adapter, how to try it
`cache_keys.py` - what decides a stage's content
"""
