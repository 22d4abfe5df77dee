"""stillhand: diffusion policies, distilled into controllers fast enough for a robot."""
