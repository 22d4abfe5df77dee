"""The columns of the report in plain words: what is counted, over what, and what it cannot show."""

COLUMNS = (
    "Controller",
    "Method",
    "Success",
    "Difference to the teacher (points)",
    "Mode entropy",
    "Modes",
    "Network calls",
    "p50 (ms)",
    "p99 (ms)",
    "Parameters",
    "Training (CPU s)",
)

DEFINITIONS = (
    (
        "Success",
        "Rollouts that met the task's own criterion (avoiding: crossed the finish line without touching "
        "an obstacle), of all rollouts, with the 95 % Wilson interval. It covers the randomness of "
        "rollouts, not that of training.",
    ),
    (
        "Difference to the teacher",
        "Paired: success rate minus the teacher's, episode by episode from the same initial states, in "
        "percentage points, with the 95 % interval for paired proportions (Newcombe 1998, method 10). "
        "An interval that contains 0 shows no difference. Rollouts that share a start count as "
        "independent, which makes the interval a little narrow.",
    ),
    (
        "Mode entropy",
        "How evenly the successful rollouts spread over the modes from one and the same start, "
        "averaged over the starts: 0 always the same way, 1 all modes equally often. A start without "
        "success counts 0. Corrected for the bias of few rollouts per start (Chao, Wang and Jost "
        "2013); the correction can overshoot 1 slightly.",
    ),
    (
        "Modes",
        "Distinct ways of solving the task among all successful rollouts. For avoiding: 2 sides of "
        "the first row, 3 gaps of the second, 4 of the third, 24 in all.",
    ),
    (
        "Network calls",
        "Evaluations of the network for one plan, that is one chunk of actions. A guided step is two, with "
        "the goal and without, although they are computed side by side.",
    ),
    (
        "p50, p99",
        "Median and 99th percentile of the time of one plan, from the observations to a chunk, batch 1, "
        "after warm-up. It is CPU time of one thread, which other programs on the machine do not stretch; "
        "the simulator's time is excluded. A dash: not measured.",
    ),
    (
        "Parameters",
        "Numbers in the network that acts; a teacher used only for training is not counted.",
    ),
    (
        "Training",
        "CPU seconds this controller's own training took; where it learns from a teacher, the teacher's "
        "training comes on top. A dash: not recorded.",
    ),
)

SCORE = (
    "Score",
    "The task's own score, mean over rollouts, where it is more than success. Push-T: the largest coverage "
    "of the target over time, divided by .95 and at most 1, as in the literature. Block pushing: share of "
    "targets occupied at the end. D4RL's tasks: their normalized score / 100, or the return of mazes.",
)

GOAL = (
    "Solved, at goal",
    "The task asks for a goal, a set of modes, and success needs it. Solved: rollouts that met the task's "
    "own criterion, whatever the goal. Of these at goal: the share of solved rollouts in one of its modes. "
    "Start and goal come from one seed, so mode entropy is within the goal: 1 all its modes equally often.",
)

IMAGE_DEFINITIONS = (
    (
        "Distance (FD)",
        "Fréchet distance between Gaussians fitted to the features of the generated and of the reference "
        "images, in the feature space of a small classifier trained by this project. It is not the FID of "
        "the literature, which uses another network. Smaller is better; it falls with the number of images, "
        "so only equal numbers compare.",
    ),
    (
        "Floor",
        "The same scores for real training images, as many as were generated, against the same reference. "
        "Nothing that learnt from these images should be below.",
    ),
    (
        "KID",
        "Unbiased squared kernel distance (polynomial kernel of degree 3, arXiv 1801.01401) on the same "
        "features, mean over subsets; small print: standard deviation over subsets.",
    ),
    (
        "FD to the teacher",
        "The same distance to the teacher's own samples, drawn from other noise: how well a student copies "
        "its teacher, whatever the data. A dash: the teacher was not sampled.",
    ),
    (
        "Precision, recall",
        "Share of generated images that lie within the real ones, and of real images within the generated "
        "ones (k-nearest-neighbour balls, arXiv 1904.06991). Low recall is lost variety.",
    ),
    (
        "Consistency",
        "Share of generated images that the classifier puts into the class asked for.",
    ),
    (
        "Class entropy",
        "Entropy of the classes the classifier sees, in units of log(classes): 1 when all are as frequent.",
    ),
    (
        "Calls, time, training of a generator",
        "Evaluations of the network for one image; CPU time of one thread for one image, sampled in batches; "
        "CPU seconds of the generator's own training, its teacher's left out. A dash: not recorded.",
    ),
)
