"""pyproject.toml says all but this: configs/ of a clone is installed as tf_syncrec/configs/."""

from setuptools import find_packages, setup

PACKAGES = find_packages(include=["data_prep*", "serving*", "tf_syncrec*"])
setup(
    packages=[*PACKAGES, "tf_syncrec.configs"],
    package_dir={"tf_syncrec.configs": "configs"},
)
