class Herd: pass
def on_the_service(): pass
