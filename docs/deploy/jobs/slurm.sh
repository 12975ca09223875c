#!/usr/bin/env bash
#SBATCH --job-name=ferkit
#SBATCH --array=1-8
#SBATCH --cpus-per-task=16
#SBATCH --mem=16G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@60
set -euo pipefail

input=${1:?"usage: sbatch slurm.sh INPUT OUTPUT"}
output=${2:?"usage: sbatch slurm.sh INPUT OUTPUT"}

code=0
ferkit batch "$input" "$output" --workers "$SLURM_CPUS_PER_TASK" --memory 1 --part "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" || code=$?
# 1: all is done, and some pictures have rows that say why they could not be read.
[ "$code" -eq 1 ] || exit "$code"
