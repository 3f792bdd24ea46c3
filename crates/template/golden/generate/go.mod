module netloom/golden

go 1.22
