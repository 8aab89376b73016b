# SPDX-License-Identifier: BSD-3-Clause
"""Test machines: kernels by name, PCI cards on hubs, one command a boot."""
