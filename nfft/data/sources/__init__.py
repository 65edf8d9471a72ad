"""Where labeled images come from: class folders, tables, data sets of the Hub, memory."""
