"""What the files of a comparison are called, for those who write them and those who read them."""

TABLE, NUMBERS, PAGE = "followup.csv", "followup.json", "followup.html"
