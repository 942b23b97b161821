"""A small vision Transformer in the Trainer of Hugging Face's Transformers."""

import tempfile

import torch
from sklearn.datasets import load_digits
from torch.utils.data import random_split
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from gradnoise.workloads import Metric, Trial, function

ACCURACY = Metric(name="accuracy", direction="maximize", worst=0.0, best=1.0)


@function(name="transformers-trainer", metrics=[ACCURACY])
def train(trial: Trial) -> None:
    """Classify handwritten digits with a small vision Transformer."""
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    examples = [
        {"pixel_values": image, "labels": label}
        for image, label in zip(images, torch.tensor(digits.target), strict=True)
    ]
    training, validation, test = random_split(
        examples, [1000, 397, 400], torch.Generator().manual_seed(0)
    )
    shape = {"image_size": 8, "patch_size": 2, "num_channels": 1, "num_labels": 10}
    widths = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = ViTConfig(num_hidden_layers=1, initializer_range=0.1, **shape, **widths)
    model = ViTForImageClassification(config)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=trial.budget_epochs,
            per_device_train_batch_size=25,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,  # the study clips
            eval_strategy="epoch",
            logging_strategy="epoch",
            save_strategy="no",  # the callbacks save
            seed=trial.seed,
            use_cpu=trial.device.type == "cpu",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=training,
            eval_dataset={"validation": validation, "test": test},
            compute_metrics=lambda found: {
                "accuracy": (found.predictions.argmax(1) == found.label_ids).mean()
            },
            optimizers=(trial.optimizer(model), None),
            callbacks=trial.transformers_callbacks(),
        )
        trainer.train(resume_from_checkpoint=trial.checkpoint_path())
