"""Packaging: `pip install .` installs the neural-style command and the modules behind it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

setup(
    name="neural-style",
    version=re.search(r'__version__ = "(.+)"', (HERE / "styling/__init__.py").read_text()).group(1),
    description="Paint a photograph in the style of one or several paintings",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    py_modules=["neural_style", "stylize", "vgg"],
    packages=[*find_packages(include=["styling", "styling.*"]), "styling.data"],
    package_dir={"styling.data": "data"},
    package_data={
        "styling.data": [
            *("*.mat", "*.npz", "*.jpg", "*.png", "*.html"),
            *("web/*", "recipes/*.toml", "figures/*.toml", "README.md"),
        ]
    },
    install_requires=[
        "imageio>=2.34",
        "jinja2>=3.1",
        "msgspec>=0.19",
        "numpy>=1.26",
        "pillow>=11.3",
        "platformdirs>=4.2",
        "pooch>=1.8",
        "psutil>=5.9",
        "requests>=2.31",
        "scipy>=1.13",
        "tensorflow>=2.18",
        "threadpoolctl>=3.5",
        "tomli-w>=1.0",
        "tqdm>=4.66",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.18; sys_platform == 'linux'"],
        "plot": ["matplotlib>=3.9"],
        "cluster": ["ray>=2.60"],
        "heif": ["pillow-heif>=1.0"],
        "video": ["av>=18.1", "opencv-python-headless>=5.0"],
        "web": ["starlette>=0.46", "uvicorn>=0.30"],
        "gallery": ["scikit-image>=0.26"],
        "test": [
            "av>=18.1",
            "hypothesis>=6.100",
            "import-linter>=2.0",
            "matplotlib>=3.9",
            "mypy>=2.0",
            "opencv-python-headless>=5.0",
            "pillow-heif>=1.0",
            "playwright>=1.48",
            "pytest>=8.2",
            "pytest-timeout>=2.4",
            "pytest-xdist>=3.6",
            "ray>=2.60",
            "ruff>=0.17",
            "starlette>=0.46",
            "uvicorn>=0.30",
        ],
    },
    entry_points={
        "console_scripts": [
            "neural-style = neural_style:main",
            "neural-style-sweep = styling.sweeps.__main__:main",
            "neural-style-web = styling.web.__main__:main",
        ]
    },
)
