<?php
echo "php asked " . file_get_contents("http://nginx/");
