"""Computing-in-memory hardware and its cost; needs the standard library, and PyYAML for device cards.

Public face: `accelerator:Accelerator`, `devices:load_card`, `layers:MvmLayer`, `workload:Workload`,
`mapping:map_network`, and `cost:estimate_cost`.
"""
