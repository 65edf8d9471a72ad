"""Stanford Cars: 196 makes, models and years, train 8,144 / test 8,041; license not known.

The repository also holds corrupted copies of test (contrast, pixelate, ...), which are left alone.
"""

from nfft import Task
from nfft.tasks import UNTRIED

TASK = Task(
    name="stanford_cars",
    source="tanganke/stanford_cars",
    image="image",
    label="label",
    train="train",
    test="test",
    title="Stanford Cars",
    homepage="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    citation=(
        "J. Krause, M. Stark, J. Deng, L. Fei-Fei, 3D object representations for fine-grained categorization, "
        "3dRR workshop at ICCV 2013"
    ),
    note=UNTRIED,
)
