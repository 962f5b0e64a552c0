"""What a distiller does beside fit: predict, report, be cloned, be saved."""
